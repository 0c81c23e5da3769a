"""bounds.py: what is demanded of Reclaim, as ratios to glibc: at most, and the aim.

The one place for these figures; the table prints them beside what was measured."""

HEAVY_SHARE = 0.08  # of a program's cycles, in malloc: from here on it counts as malloc-heavy

# group -> (time at most, aim), (peak memory at most, aim); None: nothing is demanded
BOUNDS = {
    "real, malloc-heavy": ((0.92, 0.87), (1.18, 1.10)),
    "real, other, each": ((1.01, 1.00), (1.15, 1.05)),
    "micro, 1 thread": ((0.65, 0.60), (1.28, 1.15)),
    "micro, 2 and 4 threads": ((0.62, 0.58), (1.28, 1.15)),
    "every free remote": ((0.44, 0.38), (1.28, 1.10)),
    "5 to 25 MiB blocks": ((0.88, 0.85), (1.10, 1.00)),
    "worst single workload": ((1.10, 1.00), (1.70, 1.50)),
    "threads made and ended": ((1.00, 0.90), None),
    "size-mix change": (None, (1.45, 1.25)),
}

# collect=on against collect=off
COLLECTING = 1.01

# After a peak was freed: resident against live, a second later, without calls of the program.
SETTLED = 1.45
SETTLED_AIM = 1.25

# A fresh `true` against one under glibc.
START_MILLISECONDS = 1.0
START_MEBIBYTES = 1.0
