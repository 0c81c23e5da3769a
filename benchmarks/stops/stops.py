#!/usr/bin/env python3
"""stops.py PROGRAM LIBRARY [LIBRARY-WITHOUT]: how long threads take to stop, as a table.

PROGRAM is stops.c; LIBRARY is libreclaim.so; LIBRARY-WITHOUT the library that the tests build to
leave out a remedy: with it each waiting thread is signalled instead of held in its parking place.
The variants take turns. All times in microseconds: median, least and most of all collections."""
import os
import re
import statistics
import subprocess
import sys
import tempfile

ROUNDS, COLLECTIONS = 3, 100
MIXES = [(0, 1), (0, 2), (64, 0), (64, 2), (256, 2), (1000, 2)]


def run(program, environment, mix):
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "log")
        environment = dict(os.environ, RECLAIM="log=" + log, **environment)
        subprocess.run([program, str(mix[0]), str(mix[1]), str(COLLECTIONS)],
                       env=environment, check=True, timeout=120)
        with open(log) as lines:
            text = lines.read()
    done = re.findall(r" result=done .*?stop=([0-9.]+) roots=([0-9.]+)", text)
    if len(done) < COLLECTIONS * 9 // 10:
        sys.exit(f"stops.py: only {len(done)} of {COLLECTIONS} collections were completed")
    return [float(stop) * 1000 for stop, roots in done]


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    program = sys.argv[1]
    variants = {"parked": {"LD_PRELOAD": sys.argv[2]}}
    if len(sys.argv) == 4:
        variants["signalled"] = {"LD_PRELOAD": sys.argv[3], "RECLAIM_WITHOUT": "parking"}
    print(f"{'waiting':>8} {'running':>8}  {'threads are':<10} {'median':>8} {'least':>8} {'most':>8}")
    for mix in MIXES:
        times = {name: [] for name in variants}
        for _ in range(ROUNDS):
            for name, environment in variants.items():
                times[name] += run(program, environment, mix)
        for name, values in times.items():
            print(f"{mix[0]:8} {mix[1]:8}  {name:<10} {statistics.median(values):8.0f}"
                  f" {min(values):8.0f} {max(values):8.0f}", flush=True)


main()
