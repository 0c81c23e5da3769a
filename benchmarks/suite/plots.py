"""plots.py: the ratios as bars, time and memory, by gnuplot: SVG and PNG, with the data beside."""
import os
import shutil
import subprocess

from allocators import BASE

SCRIPT = """
set terminal {terminal}
set output '{output}'
set title '{title}'
set style data histograms
set style histogram clustered gap 2
set style fill solid 0.9 noborder
set boxwidth 1
set grid ytics lc rgb '#cccccc'
set key outside top center horizontal
set xtics rotate by -50 scale 0
set yrange [0:{highest}]
set ylabel 'ratio to glibc, less is better'
set datafile missing '-'
plot 1 with lines lc rgb '#444444' notitle, \\
  for [i=2:{columns}] '{data}' using i:xtic(1) title columnheader(i)
"""
TERMINALS = {
    "svg": "svg size 1500,560 font 'sans,12' background rgb 'white'",
    "png": "png size 1500,560",
}


def write_data(figures, names, ratios, path):
    """One line for each workload; returns the highest ratio that is to be seen."""
    highest = 1.0
    with open(path, "w", encoding="ascii") as out:
        out.write(" ".join(f'"{name}"' for name in ["workload", *names]) + "\n")
        for workload in figures.workloads:
            cells = [ratios(workload, name) for name in names]
            if any(cells):
                out.write(f'"{workload.name}" '
                          + " ".join(f"{c.median:.4f}" if c else "-" for c in cells) + "\n")
                highest = max([highest] + [c.median for c in cells if c])
    return min(highest * 1.05, 3.0)


def draw(figures, directory):
    """Returns a line that says what was done."""
    names = [a.name for a in figures.allocators if a.name != BASE]
    if not names:
        return "No plots: there is nothing but glibc."
    drawn = []
    for what, title, ratios in (("time", "Time", figures.times),
                                ("memory", "Peak of resident memory", figures.peaks)):
        data = os.path.join(directory, what + ".dat")
        highest = write_data(figures, names, ratios, data)
        if not shutil.which("gnuplot"):
            continue
        for kind, terminal in TERMINALS.items():
            output = os.path.join(directory, f"{what}.{kind}")
            script = SCRIPT.format(terminal=terminal, output=output, title=title, highest=highest,
                                   columns=len(names) + 1, data=data)
            done = subprocess.run(["gnuplot"], input=script, text=True, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, check=False)
            if done.returncode != 0:
                return f"No plots: gnuplot failed: {done.stderr.strip()[-200:]}"
            drawn.append(f"{what}.{kind}")
    return "Plots: " + ", ".join(drawn) if drawn else "No plots: no gnuplot (package gnuplot-nox)."
