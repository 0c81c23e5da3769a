"""gnuplot.py: runs a script once for each kind of picture."""
import os
import shutil
import subprocess

TERMINALS = {"svg": "svg size {width},{height} font 'sans,12' background rgb 'white'",
             "png": "png truecolor size {width},{height}"}


def draw(out, name, script, size, **names):
    """A line that says what was done: name.svg and name.png in the folder `out`. The script is a
    format of `names`."""
    if not shutil.which("gnuplot"):
        return "No plots: no gnuplot (package gnuplot-nox)."
    for kind, terminal in TERMINALS.items():
        text = (f"set terminal {terminal.format(width=size[0], height=size[1])}\n"
                f"set output '{os.path.join(out, f'{name}.{kind}')}'\n" + script.format(**names))
        done = subprocess.run(["gnuplot"], input=text, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            return f"No plot of {name}: gnuplot failed: {done.stderr.strip()[-200:]}"
    return f"Plots: {name}.svg, {name}.png"
