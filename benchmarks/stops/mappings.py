#!/usr/bin/env python3
"""mappings.py PROGRAM LIBRARY RESULTS: what a cycle costs with very many mappings, as a table.

PROGRAM is mappings.c, LIBRARY libreclaim.so; RESULTS is the folder for mappings.csv, one line a
collection. Both ways of asking the kernel take turns, PAGEMAP_SCAN and kernel=baseline, which reads
the pagemap. confirm=1, so that one collection that misses a pointer is enough to lose a block.

The status is 1 when a collection is missing or a block lost, when the collections made a page
resident, and when the median of `roots`, the list of mappings and their pages' presence, is BOUND or
more. Rounds in which other programs used the processors (as in suite/running.py) are told and do not
count to that; where none is left, it has to hold for the shortest. With kernel=baseline there is no
bound: the pagemap has 8 bytes for each page of 4 KiB that is reserved, touched or not, which costs the
kernel more than a millisecond a gibibyte."""
import csv
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "suite"))
from running import busy_seconds, is_disturbed

STACKS, FILES, GIB = 1000, 2000, 64
ROUNDS, COLLECTIONS = 3, 30
BOUND = 20.0 # milliseconds
MEASURING = 64 # KiB that reading the figures may take
VARIANTS = {"auto": "confirm=1", "baseline": "confirm=1,kernel=baseline"}
FIELDS = ["pause", "stop", "roots", "mark", "mappings", "threads", "root_bytes"]


def own_seconds():
    """Of this program's children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def read_log(path):
    """The collections that the program asked for between its measurements: the last ones."""
    with open(path, encoding="ascii") as file:
        lines = [line for line in file if " reason=request " in line]
    done = [line for line in lines if " result=done " in line]
    if len(done) < COLLECTIONS or len(done) < len(lines) * 9 // 10:
        sys.exit(f"mappings.py: only {len(done)} of {len(lines)} collections were completed")
    found = [dict(re.findall(r"(\w+)=([0-9.]+)", line)) for line in done[-COLLECTIONS:]]
    return [[float(cycle[field]) for field in FIELDS] for cycle in found]


def run(program, library, options):
    """The collections, what was resident before and after them, and whether the run was disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        environment = dict(os.environ, LD_PRELOAD=library, RECLAIM=f"log={log},{options}",
                           TMPDIR=folder)
        begin, busy, own = time.monotonic(), busy_seconds(), own_seconds()
        done = subprocess.run([program, str(STACKS), str(FILES), str(GIB), str(COLLECTIONS)],
                              env=environment, capture_output=True, text=True, check=False,
                              timeout=300)
        foreign = busy_seconds() - busy - (own_seconds() - own)
        disturbed = is_disturbed(foreign, time.monotonic() - begin)
        if done.returncode != 0:
            sys.exit(f"mappings.py: {options}: {done.stderr.strip() or done.returncode}")
        found = re.findall(r"(\w+)=(\d+)>(\d+)", done.stdout)
        resident = {name: (int(before), int(after)) for name, before, after in found}
        return read_log(log), resident, disturbed


def grown(resident):
    """What became resident, in words; the stacks' unused parts hold nothing to begin with."""
    wrong = [f"{name}: {before} pages, then {after}" for name, (before, after) in resident.items()
             if name != "rss_kib" and after != before]
    before, after = resident["rss_kib"]
    if after > before + MEASURING:
        wrong.append(f"{before} KiB resident, then {after}")
    return wrong


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    program, library, results = sys.argv[1:]
    os.makedirs(results, exist_ok=True)
    cycles, wrong, rss = {name: [] for name in VARIANTS}, [], {}
    quiet, disturbances = [], 0
    with open(os.path.join(results, "mappings.csv"), "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(["kernel", "round", *FIELDS])
        for round_ in range(ROUNDS):
            for name, options in VARIANTS.items():
                found, rss[name], disturbed = run(program, library, options)
                disturbances += disturbed
                if name == "auto" and not disturbed:
                    quiet += found
                cycles[name] += found
                writer.writerows([name, round_, *cycle] for cycle in found)
                wrong += [f"{name}: {what}" for what in grown(rss[name])]
    print(f"\n{STACKS} waiting threads, {FILES} mapped files, {GIB} GiB reserved; milliseconds of "
          f"{ROUNDS} x {COLLECTIONS} collections: median, least and most")
    print(f"{'kernel':<9} {'mappings':>8} {'threads':>7} {'root MB':>7}"
          + "".join(f"{field:>23}" for field in FIELDS[1:4]) + "    resident KiB")
    for name, rows in cycles.items():
        column = dict(zip(FIELDS, zip(*rows)))
        spreads = "".join(f"{statistics.median(column[f]):9.2f}"
                          f" {min(column[f]):6.2f}-{max(column[f]):<6.2f}" for f in FIELDS[1:4])
        print(f"{name:<9} {column['mappings'][-1]:8.0f} {column['threads'][-1]:7.0f} "
              f"{column['root_bytes'][-1] / 1e6:7.1f}{spreads}   {' > '.join(map(str, rss[name]['rss_kib']))}")
    print(f"{disturbances} of {ROUNDS * len(VARIANTS)} runs were disturbed")
    roots = [cycle[FIELDS.index("roots")] for cycle in quiet or cycles["auto"]]
    judged = statistics.median(roots) if quiet else min(roots)
    if judged >= BOUND:
        wrong.append(f"auto: roots takes {judged:.1f} ms, {BOUND:.0f} is the bound")
    sys.exit("mappings.py: " + "; ".join(wrong) if wrong else 0)


main()
