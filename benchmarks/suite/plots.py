"""plots.py: the ratios as bars, time and memory, by gnuplot: SVG and PNG, with the data beside."""
import os

import gnuplot
from allocators import BASE

SCRIPT = """
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
    """Returns lines that say what was done."""
    names = [a.name for a in figures.allocators if a.name != BASE]
    if not names:
        return "No plots: there is nothing but glibc."
    lines = []
    for what, title, ratios in (("time", "Time", figures.times),
                                ("memory", "Peak of resident memory", figures.peaks)):
        data = os.path.join(directory, what + ".dat")
        highest = write_data(figures, names, ratios, data)
        lines.append(gnuplot.draw(directory, what, SCRIPT, (1500, 560), title=title,
                                  highest=highest, columns=len(names) + 1, data=data))
    return "\n".join(lines)
