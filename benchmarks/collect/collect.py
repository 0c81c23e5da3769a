#!/usr/bin/env python3
"""collect.py: how long full collections take, Reclaim's and bdwgc's, on the same heaps.

Each heap (heaps.c names the shapes) is built and collected in turn by every collector, round by
round, in an order drawn anew each time; a shape's ratios are taken between medians over all rounds.
What each collection found alive is compared with what was made, or the run fails. A collector that
is not there is named and left out. Prints tables and writes what was measured as data and as plots
(plots.py). See benchmarks/README."""
import argparse
import csv
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import plots

SHAPES = ["random", "ordered", "mixed", "arrays", "doubles", "list", "huge", "leaves"]
WHAT = {"random": "tree, random order", "ordered": "tree, allocation order",
        "mixed": "nodes and pointer arrays", "arrays": "pointer arrays", "doubles": "numbers, 1 MiB each",
        "list": "one list", "huge": "one array of pointers", "leaves": "nodes, leaf blocks"}
PAUSE_SIZES = [64, 256, 512, 1024, 2048, 4096]
LONG = 5000  # milliseconds: who takes so long for a collection has no larger heaps to collect
PROGRAMS = [("binary-trees", 18, 1), ("binary-trees", 18, 2), ("gcbench", 16, 1), ("gcbench", 16, 2),
            ("server", 512, 1), ("server", 512, 2)]
GROWTHS = [25, 50, 100, 200, 400]
BASE = "bdwgc"


def arguments():
    parser = argparse.ArgumentParser(prog="collect", description=__doc__)
    parser.add_argument("--build", default=".", help="the build folder")
    parser.add_argument("--out", help="where the results go (BUILD/benchmarks/results-gc)")
    parser.add_argument("--mib", type=int, default=512, help="size of the heaps (512)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cycles", type=int, default=3, help="collections in each run (3)")
    parser.add_argument("--pauses", type=int, default=100,
                        help="collections for each distribution, fewer of heaps above 64 MiB (100)")
    parser.add_argument("--pause-sizes", default=",".join(map(str, PAUSE_SIZES)), metavar="MIB,...")
    parser.add_argument("--only", default="", metavar="SHAPE,...", help="none: no heaps at all")
    parser.add_argument("--programs", default="", metavar="NAME,...", help="none: no programs")
    parser.add_argument("--markers", default="1,2", metavar="NUMBER,...")
    parser.add_argument("--scaling", default="4", metavar="NUMBER,...",
                        help="further numbers of markers, with the default options only")
    parser.add_argument("--options", default="", help="for Reclaim, besides markers=")
    parser.add_argument("--library", action="append", default=[], metavar="NAME=PATH",
                        help="one more library, another build of Reclaim perhaps")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the runs")
    given = parser.parse_args()
    given.out = given.out or os.path.join(given.build, "benchmarks", "results-gc")
    return given


class Collector:
    """One column: a collector with a number of markers and options."""

    def __init__(self, name, markers, library=None, options=""):
        self.name, self.markers, self.library, self.options = name, markers, library, options
        self.title = f"{name} {options} {markers}".replace("  ", " ")

    def run(self, program, shape, mib, cycles):
        """[(milliseconds, stopped for)], and how many objects there were."""
        environment = dict(os.environ, GC_MARKERS=str(self.markers))
        command = [program, shape, str(mib), str(cycles)]
        if self.library:
            options = ",".join(part for part in (f"markers={self.markers}", self.options) if part)
            environment.update(LD_PRELOAD=self.library, RECLAIM=options + ",log=stderr")
        elif shape != "range":
            command.append("bdwgc")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False,
                              timeout=1800)
        marked = re.findall(r" result=done .* markers=(\d+)", done.stderr)
        if self.library and marked and int(marked[-1]) != self.markers:
            sys.exit(f"collect: {shape} under {self.title}: {marked[-1]} markers")
        if done.returncode != 0:
            sys.exit(f"collect: {shape} under {self.title}: {done.stderr.strip() or done.returncode}")
        times = [(float(a), float(b)) for a, b in
                 re.findall(r"took=([0-9.]+) paused=([0-9.]+)", done.stdout)]
        if len(times) != cycles:
            sys.exit(f"collect: {shape} under {self.title}: {len(times)} of {cycles} collections")
        return times, int(re.search(r"objects=(\d+)", done.stdout).group(1))


def has_bdwgc(program):
    return subprocess.run([program, "list", "1", "1", "bdwgc"], capture_output=True,
                          check=False).returncode == 0


def collectors_of(given, program):
    markers = [int(m) for m in given.markers.split(",")]
    ours = os.path.join(os.path.abspath(given.build), ".libs", "libreclaim.so")
    found = [Collector("reclaim", m, ours, given.options) for m in markers]
    for more in ("stride=8", "free=quarantine"):
        found += [Collector("reclaim", m, ours, ",".join(filter(None, [given.options, more])))
                  for m in markers]
    for entry in given.library:
        name, _, path = entry.partition("=")
        found += [Collector(name, m, os.path.abspath(path), given.options) for m in markers]
    further = [int(m) for m in given.scaling.split(",") if m.isdigit() and int(m) not in markers]
    found += [Collector("reclaim", m, ours, given.options) for m in further]
    if has_bdwgc(program):
        found += [Collector(BASE, m) for m in markers + further]
    else:
        print("bdwgc is left out: no libgc.so.1 (package libgc1)")
    return found


def spread(values):
    return f"{statistics.median(values):8.1f} {min(values):6.0f}-{max(values):<6.0f}"


def measure_marks(given, program, collectors, writer):
    """{(shape, collector): milliseconds}, {shape: objects}"""
    shapes = [s for s in given.only.split(",") if s in SHAPES]
    if not given.only:
        shapes = SHAPES
    times, objects = {}, {}
    if not shapes:
        return shapes, times, objects
    for round_ in range(given.rounds):
        for shape in shapes + ["range"]:
            turn = list(collectors)
            if shape == "range":
                turn = [Collector("range", m) for m in sorted({c.markers for c in collectors})]
            random.shuffle(turn)
            for c in turn:
                samples, count = c.run(program, shape, given.mib, given.cycles)
                for took, paused in samples:
                    writer.writerow([shape, c.title, given.mib, round_, took, paused, count])
                times.setdefault((shape, c.title), []).extend(took for took, _ in samples)
                if c.library:
                    objects[shape] = count
    return shapes, times, objects


def print_marks(given, shapes, collectors, times, objects):
    if not shapes:
        return
    print(f"\nA full collection of {given.mib} MiB, milliseconds: median, least and most; for each "
          "object; as part of bdwgc's with as many markers")
    for shape in shapes:
        print(f"{shape}: {WHAT[shape]}, {objects[shape]} objects")
        for c in collectors:
            values = times[shape, c.title]
            line = f"  {c.title:<27} {spread(values)}"
            line += f" {statistics.median(values) * 1e6 / objects[shape]:10.1f} ns"
            base = times.get((shape, f"{BASE} {c.markers}"))
            if base and c.library:
                line += f" {statistics.median(values) / statistics.median(base):8.2f}"
            ranged = times.get(("range", f"range {c.markers}"))
            if shape == "doubles" and ranged:
                line += f"   {statistics.median(ranged) / statistics.median(values):5.2f} of scan speed"
            print(line)
    for m in sorted({c.markers for c in collectors}):
        values = times["range", f"range {m}"]
        print(f"a range of as many numbers, {m} threads: {spread(values)} "
              f"{given.mib / 1024 / statistics.median(values) * 1e3:6.1f} GiB/s")


def available_mib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"MemAvailable: *(\d+)", file.read()).group(1)) // 1024


def measure_pauses(given, program, collectors, writer):
    """{(mib, collector): milliseconds stopped}, of the shape `mixed`."""
    pauses, slow = {}, set()
    most = max(int(m) for m in given.markers.split(","))
    chosen = [c for c in collectors if "stride" not in c.options and c.markers == most]
    for mib in (int(size) for size in given.pause_sizes.split(",") if size.isdigit()):
        if available_mib() < 3 * mib:
            print(f"No pauses of {mib} MiB: {available_mib()} MiB are free, three times as many wanted")
            continue
        for c in (c for c in chosen if c not in slow):
            cycles = max(min(5, given.pauses), given.pauses * 64 // max(mib, 64))
            samples, count = c.run(program, "mixed", mib, cycles)
            for took, paused in samples:
                writer.writerow(["mixed", c.title, mib, 0, took, paused, count])
            pauses[mib, c.title] = [paused for _, paused in samples]
            if statistics.median(took for took, _ in samples) > LONG:
                slow.add(c)
                print(f"No pauses of {c.title} above {mib} MiB: it took more than {LONG / 1000:.0f} s")
    return chosen, pauses


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def print_pauses(chosen, pauses):
    if not pauses:
        return
    print("\nHow long the program stands still, nodes and pointer arrays, milliseconds")
    print(f"{'MiB':>6}  {'':<24} {'n':>4} {'p50':>9} {'p99':>9} {'max':>9}")
    for mib in sorted({mib for mib, _ in pauses}):
        for c in (c for c in chosen if (mib, c.title) in pauses):
            values = pauses[mib, c.title]
            print(f"{mib:6}  {c.title:<27} {len(values):4} {percentile(values, .5):9.1f} "
                  f"{percentile(values, .99):9.1f} {max(values):9.1f}")


class Sampler(threading.Thread):
    """[(seconds since `begin`, mebibytes resident)] of a child that has not been waited for."""

    EVERY = 0.02

    def __init__(self, process, begin):
        super().__init__()
        self.process, self.begin, self.samples, self.over = process, begin, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(self.EVERY):
            with open(f"/proc/{self.process}/statm", encoding="ascii") as file:
                pages = int(file.read().split()[1])
            if pages:  # none are left when it ends
                self.samples.append((time.monotonic() - self.begin, pages * 4096 / 2 ** 20))

    def end(self):
        self.over.set()
        self.join()


class Way:
    """How a program is run: with whose malloc, and what becomes of its garbage. bdwgc's pauses are not
    known here."""

    def __init__(self, name, way, library=None, options="", markers=2):
        self.name, self.way, self.library, self.options = name, way, library, options
        self.markers = markers

    def run(self, command):
        """(seconds, mebibytes at most, part of the time in collections, what was resident, output)"""
        environment = dict(os.environ, GC_MARKERS=str(self.markers))
        with tempfile.TemporaryDirectory() as directory:
            log = os.path.join(directory, "log")
            if self.library:
                environment.update(LD_PRELOAD=self.library,
                                   RECLAIM=",".join(filter(None, [
                                       f"markers={self.markers}", self.options, "log=" + log])))
            begin = time.monotonic()
            # pylint: disable-next=consider-using-with
            child = subprocess.Popen(command + [self.way], env=environment, stdout=subprocess.PIPE)
            sampler = Sampler(child.pid, begin)
            output = child.stdout.read()
            sampler.end()
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.monotonic() - begin
            if status != 0:
                sys.exit(f"collect: {' '.join(command)} under {self.name}: status {status}")
            paused = self.read_pauses(log, command) if self.library else 0.0
        return seconds, usage.ru_maxrss / 1024, paused / seconds, sampler.samples, output

    def read_pauses(self, log, command):
        """Seconds in all; where nothing is freed there must have been some."""
        text = ""
        if os.path.exists(log):
            with open(log, encoding="ascii") as file:
                text = file.read()
        found = re.search(r"exit cycles=(\d+) .* total_pause=([0-9.]+)", text)
        if not found or (self.way == "drop" and found.group(1) == "0"):
            sys.exit(f"collect: {' '.join(command)} under {self.name}: nothing was collected")
        return float(found.group(2)) / 1e3


def ways_of(given, program, name):
    ours = os.path.join(os.path.abspath(given.build), ".libs", "libreclaim.so")
    found = [Way("glibc, free", "free"), Way("reclaim, free", "free", ours),
             Way("reclaim, free=ignore", "drop", ours, "free=ignore")]
    if name == "server":
        found += [Way(f"  growth={g}", "drop", ours, f"free=ignore,growth={g}")
                  for g in GROWTHS if g != 50]
    if has_bdwgc(program):
        found.append(Way(BASE, "bdwgc"))
    return found


def measure_programs(given, program, writer):
    """{(program, threads, way): [(seconds, mebibytes, part)]}, and of the last round what was
    resident over time"""
    chosen = [p for p in PROGRAMS if not given.programs or p[0] in given.programs.split(",")]
    ways = {name: ways_of(given, program, name) for name, _, _ in chosen}
    results, resident = {}, {}
    trees = os.path.join(given.build, "benchmarks", "collect", "trees")
    for round_ in range(given.rounds + 1 if chosen else 0):
        for name, size, threads in chosen:
            command, outputs = [trees, name, str(size), str(threads)], set()
            for way in random.sample(ways[name], len(ways[name])):
                *figures, resident[name, threads, way.name], output = way.run(command)
                outputs.add(output)
                results.setdefault((name, threads, way.name), []).append(figures)
                writer.writerow([f"{name}-{threads}", way.name, size, round_, *figures])
            if len(outputs) != 1:
                sys.exit(f"collect: {name}: the ways do not agree on the result")
    return chosen, ways, results, resident


def print_programs(chosen, ways, results):
    if not chosen:
        return
    print("\nPrograms that free nothing: seconds (median, least and most), as part of glibc's with "
          "free; MiB at most, likewise; part of the time spent in pauses")
    for name, size, threads in chosen:
        print(f"{name} {size}, {threads} threads")
        base = [statistics.median(column) for column in zip(*results[name, threads, ways[name][0].name])]
        for way in ways[name]:
            seconds, mib, part = zip(*results[name, threads, way.name])
            print(f"  {way.name:<22} {statistics.median(seconds):7.2f} {min(seconds):6.2f}-"
                  f"{max(seconds):<6.2f} {statistics.median(seconds) / base[0]:6.2f} "
                  f"{statistics.median(mib):8.0f} {statistics.median(mib) / base[1]:6.2f} "
                  f"{statistics.median(part) * 100:6.1f} %")


def print_scaling(shapes, blocks):
    print(f"\nHow many times as fast as one marker; {os.cpu_count()} processors")
    print(f"{'':<10} {'markers':>7}" + "".join(f"{shape:>9}" for shape in shapes))
    for name, rows in blocks.items():
        for markers, *factors in rows:
            print(f"{name:<10} {markers:7}" + "".join(f"{factor:9.2f}" for factor in factors))


def scaling_of(given, shapes, collectors, times):
    """{name: [[markers, how many times as fast as one, shape by shape]]}"""
    plain = [c for c in collectors if c.options in ("", given.options)]
    blocks = {}
    for one in (c for c in plain if c.markers == 1):
        same = sorted((c for c in plain if c.name == one.name), key=lambda c: c.markers)
        blocks[one.name] = [[c.markers] + [statistics.median(times[s, one.title])
                                           / statistics.median(times[s, c.title]) for s in shapes]
                            for c in same]
    return blocks


def draw_pauses(given, chosen, pauses):
    columns, rows, blocks = ["MiB"], [], {}
    for c in chosen:
        columns += [c.title + " median", c.title + " longest"]
    for mib in sorted({mib for mib, _ in pauses}):
        all_of = [pauses.get((mib, c.title), []) for c in chosen]
        rows.append([mib])
        for values in all_of:
            rows[-1] += [percentile(values, .5), max(values)] if values else ["-", "-"]
        blocks[mib] = plots.bins(all_of)
    print(plots.draw(given.out, "pauses", plots.PAUSES, columns, rows))
    print(plots.draw_panels(given.out, "pause-distribution", plots.DISTRIBUTION,
                            ["from", "to"] + [c.title for c in chosen], blocks, 2))


def draw_resident(given, programs, ways, resident):
    """Each way has times of its own: in its rows its column alone is filled."""
    names, blocks = [], {}
    for name, _, _ in programs:
        names += [way.name for way in ways[name] if way.name not in names and way.name[0] != " "]
    for name, _, threads in programs:
        blocks[f"{name}-{threads}"] = [
            [f"{at:.3f}"] + [f"{mib:.1f}" if way == column else "-" for column in names]
            for way in names for at, mib in resident.get((name, threads, way), [])]
    return plots.draw_panels(given.out, "resident", plots.LINES, ["seconds"] + names, blocks, 2)


def draw_growth(given, results, threads):
    rows = []
    for growth in GROWTHS:
        way = "reclaim, free=ignore" if growth == 50 else f"  growth={growth}"
        seconds, mib, _ = zip(*results["server", threads, way])
        rows.append([statistics.median(mib), statistics.median(seconds)])
    return plots.draw(given.out, f"growth-{threads}", plots.GROWTH, ["MiB", "seconds"], rows)


def main():
    given = arguments()
    random.seed(given.seed)
    program = os.path.join(given.build, "benchmarks", "collect", "heaps")
    collectors = collectors_of(given, program)
    os.makedirs(given.out, exist_ok=True)
    with open(os.path.join(given.out, "samples.csv"), "w", 1, "ascii", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["shape", "collector", "mib", "round", "took_ms", "paused_ms", "objects"])
        shapes, times, objects = measure_marks(given, program, collectors, writer)
        print_marks(given, shapes, collectors, times, objects)
        scaling = scaling_of(given, shapes, collectors, times) if shapes else {}
        if scaling:
            print_scaling(shapes, scaling)
        sys.stdout.flush()
        chosen, pauses = measure_pauses(given, program, collectors, writer)
        print_pauses(chosen, pauses)
        sys.stdout.flush()
    with open(os.path.join(given.out, "programs.csv"), "w", 1, "ascii", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["program", "way", "size", "round", "seconds", "mib", "paused_part"])
        programs, ways, results, resident = measure_programs(given, program, writer)
        print_programs(programs, ways, results)
    print()
    if shapes:
        print(plots.draw(given.out, "marks", plots.BARS, ["shape"] + [c.title for c in collectors],
                         [[f'"{s}"'] + [statistics.median(times[s, c.title]) * 1e6 / objects[s]
                                        for c in collectors] for s in shapes]))
    if scaling:
        print(plots.draw_panels(given.out, "scaling", plots.SCALING, ["markers"] + shapes, scaling, 2))
    if pauses:
        draw_pauses(given, chosen, pauses)
    if programs:
        print(draw_resident(given, programs, ways, resident))
    for _, _, threads in (p for p in programs if p[0] == "server"):
        print(draw_growth(given, results, threads))


main()
