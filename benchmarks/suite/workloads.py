"""workloads.py: the list of all workloads. README says what each is and where its shape is from."""
import fnmatch

import real
import servers
from workload import Workload

# name, threads, in which group
MICRO = [
    ("tiny", (1,)), ("mixed", (1, 2, 4)), ("nbody", (1,)), ("server", (1, 2, 4)),
    ("batches", (1, 2, 4)), ("graphs", (1, 2, 4)), ("sizes", (1, 2, 4)), ("growth", (1,)),
    ("zeroed", (1,)), ("aligned", (1,)), ("threads", (1, 2)), ("active-sharing", (2,)),
    ("passive-sharing", (2,)), ("remote", (2, 4)), ("big", (1,)), ("phase", (1,)),
    ("settle", (1,)),
]
GROUPS = {"big": "big", "phase": "phase", "settle": "settle"}
# What threads=1 means there is one of a time: the main thread waits for it.
WALL_TIME = {"threads", "server"}


class Micro(Workload):
    def __init__(self, program, name, threads):
        super().__init__(f"{name}-{threads}" if name not in GROUPS else name,
                         GROUPS.get(name, "micro"), threads,
                         "cpu" if threads == 1 and name not in WALL_TIME else "wall")
        self.remote = name == "remote"
        self.is_timeless = name in ("phase", "settle")
        self.program, self.argument = program, name

    def command(self, percent):
        return [self.program, self.argument, str(self.threads), str(percent)]


def all_workloads(program, inputs):
    """And a line for each that cannot be run here."""
    found = [Micro(program, name, threads) for name, counts in MICRO for threads in counts]
    missing = []
    chosen = [w for w in real.programs(inputs) + servers.servers(inputs) if w.is_here(missing)]
    return chosen + found, missing


def select(workloads, patterns):
    if not patterns:
        return workloads
    for pattern in patterns:
        if not any(fits(w, pattern) for w in workloads):
            raise SystemExit(f"bench: no workload is called \"{pattern}\"; there are "
                             + ", ".join(w.name for w in workloads))
    return [w for w in workloads if any(fits(w, pattern) for pattern in patterns)]


def fits(workload, pattern):
    """By name, by name without the number of threads, by group, or by a pattern with * and ?."""
    return (fnmatch.fnmatch(workload.name, pattern) or workload.group == pattern
            or workload.name.rpartition("-")[0] == pattern)
