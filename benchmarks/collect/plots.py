"""plots.py: what collect.py measured, by gnuplot: SVG and PNG, with the data beside."""
import math
import os
import sys

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "suite"))
import gnuplot

BARS = """
set style data histograms
set style histogram clustered gap 2
set style fill solid 0.9 noborder
set grid ytics lc rgb '#cccccc'
set key outside top center horizontal
set logscale y
set ylabel 'nanoseconds an object, less is better'
plot for [i=2:{columns}] '{data}' using i:xtic(1) title columnheader(i)
"""
PAUSES = """
set style data linespoints
set grid lc rgb '#cccccc'
set key outside top center horizontal
set logscale xy
set datafile missing '-'
set xlabel 'MiB'
set ylabel 'milliseconds: median and longest pause'
plot for [i=2:{columns}] '{data}' using 1:i title columnheader(i)
"""
GROWTH = """
set style data linespoints
set grid lc rgb '#cccccc'
set title 'server, 512 MiB live: growth from 25 to 400 per cent'
set xlabel 'MiB at most'
set ylabel 'seconds'
set yrange [0:*]
set xrange [0:*]
plot '{data}' using 1:{columns} notitle
"""


def panels(style, title, plot):
    """One block of the data each, with one line or one set of boxes for each column."""
    return style + f"""
set multiplot layout {{rows}},{{across}}
titles = '{{titles}}'
do for [b=0:{{blocks}}-1] {{{{
  set title word(titles, b + 1){title}
  plot {plot} title columnheader(i)
}}}}
unset multiplot
"""


DISTRIBUTION = panels("""
set style fill transparent solid 0.55 noborder
set grid lc rgb '#cccccc'
set key top right
set logscale x
set yrange [0:1]
set xlabel 'milliseconds stopped'
set ylabel 'part of the pauses'
""", ".' MiB'", "for [i=3:{columns}] '{data}' index b using (sqrt($1*$2)):i:($2-$1) with boxes")
LINES = panels("""
set style data lines
set grid lc rgb '#cccccc'
set key bottom right
set yrange [0:*]
set datafile missing '-'
set xlabel 'seconds'
set ylabel 'MiB resident'
""", "", "for [i=2:{columns}] '{data}' index b using 1:i linewidth 1.5")
SCALING = panels("""
set style data linespoints
set grid lc rgb '#cccccc'
set key outside right
set logscale x 2
set yrange [0:*]
set xlabel 'threads that mark'
set ylabel 'times as fast as one'
""", "", "for [i=2:{columns}] '{data}' index b using 1:i:xtic(1)")


def write_rows(file, columns, rows):
    file.write(" ".join(f'"{column}"' for column in columns) + "\n")
    for row in rows:
        file.write(" ".join(str(cell) for cell in row) + "\n")


def draw(out, name, script, columns, rows):
    data = os.path.join(out, name + ".dat")
    with open(data, "w", encoding="ascii") as file:
        write_rows(file, columns, rows)
    return gnuplot.draw(out, name, script, (1200, 560), columns=len(columns), data=data)


def draw_panels(out, name, script, columns, blocks, across):
    """blocks: {title: rows}; titles are words."""
    data = os.path.join(out, name + ".dat")
    with open(data, "w", encoding="ascii") as file:
        for rows in blocks.values():
            write_rows(file, columns, rows)
            file.write("\n\n")
    rows = (len(blocks) + across - 1) // across
    return gnuplot.draw(out, name, script, (1400, 100 + 380 * rows), columns=len(columns), data=data,
                       blocks=len(blocks), rows=rows, across=across,
                       titles=" ".join(str(title) for title in blocks))


def bins(values_of, steps=8):
    """[low, high, part of each list of values]: bins of a step, the steps-th root of two."""
    step = 2 ** (1 / steps)

    def place(value):
        return math.floor(math.log(max(value, 1e-3), step))

    everything = [place(value) for values in values_of for value in values]
    return [[step ** b, step ** (b + 1)]
            + [sum(place(value) == b for value in values) / len(values) if values else 0
               for values in values_of]
            for b in range(min(everything), max(everything) + 1)]
