#!/usr/bin/env python3
"""What the options on words cost the mark loop: on a random tree (the program mark_options), and in
lua5.4 on its own heap, which is collected at the same allocations in every run.

mark_options.py PROGRAM LIBRARY JUMP SCRIPT [ROUNDS]

Settings take turns within a round, so that what else the machine does hits all alike; the ratio of
two runs is that of their times for the same collections, and what is printed is the median of the
ratios with the quartiles. JUMP is a library that switches stacks by siglongjmp once, which turns
demangling on."""
import os
import re
import statistics
import subprocess
import sys
import tempfile

SETTINGS = ["stride=4", "stride=8", "stride=1", "strip-high-bits=on", "slop=16", "slop=256",
            "demangling"]


def marks(library, jump, script, setting, log):
    """Milliseconds spent on marking, a figure for each collection."""
    options = "collect-every=100000,confirm=1,log=" + log
    preload = library
    if setting == "demangling":
        preload += ":" + jump
    else:
        options += "," + setting
    if os.path.exists(log):
        os.remove(log)
    subprocess.run(["lua5.4", script], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "LD_PRELOAD": preload, "RECLAIM": options})
    with open(log, encoding="utf-8") as lines:
        return [float(m.group(1)) for m in re.finditer(r"result=done .* mark=([0-9.]+)",
                                                       lines.read())]


def main():
    program, library, jump, script = sys.argv[1:5]
    rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 5
    subprocess.run([program], check=True)
    ratios = {setting: [] for setting in SETTINGS}
    totals = {setting: [] for setting in SETTINGS}
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "log")
        for turn in range(rounds):
            seen = {}
            for i in range(len(SETTINGS)):
                setting = SETTINGS[(i + turn) % len(SETTINGS)]
                seen[setting] = marks(library, jump, script, setting, log)
            for setting, figures in seen.items():
                both = list(zip(figures, seen[SETTINGS[0]]))
                totals[setting].append(statistics.median(figures))
                ratios[setting].append(statistics.median(a / b for a, b in both))
    print(f"\nlua5.4 {os.path.basename(script)}, {rounds} rounds")
    print(f"{'setting':22} {'median ms':>10} {'ratio':>8} {'lower':>8} {'upper':>8}")
    for setting in SETTINGS:
        r = sorted(ratios[setting])
        print(f"{setting:22} {statistics.median(totals[setting]):10.2f} "
              f"{statistics.median(r):8.2f} {r[len(r) // 4]:8.2f} {r[len(r) * 3 // 4]:8.2f}")


main()
