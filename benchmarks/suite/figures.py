"""figures.py: from samples to ratios, and from those to the figures of the groups.

A ratio is that of two runs of one round, which stood next to each other; what is told of a
workload is the median of the rounds' ratios, with the least and the most; what is told of a group
is the geometric mean of its workloads' medians."""
import math
import statistics
from collections import namedtuple

from allocators import BASE, OURS, OURS_OFF
from bounds import HEAVY_SHARE

Spread = namedtuple("Spread", "median least most")


def spread(values):
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def geomean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


class Figures:
    """The samples of a run: by workload, allocator and round."""

    def __init__(self, workloads, allocators):
        self.workloads = workloads
        self.allocators = allocators
        self.samples = {}
        self.failures = {}
        self.shares = {}
        self.why_unmeasured = {}

    def add(self, workload, allocator, number, sample):
        self.samples.setdefault((workload.name, allocator.name), {})[number] = sample

    def fail(self, workload, allocator, reason):
        self.failures[workload.name, allocator.name] = reason

    def rounds(self):
        return max((max(r) for r in self.samples.values() if r), default=0)

    def of(self, workload, name):
        return self.samples.get((workload.name, name), {})

    def ratios(self, workload, name, value, base=BASE):
        """value(sample) under the allocator of that name to the same under glibc."""
        ours, others = self.of(workload, name), self.of(workload, base)
        return spread([value(ours[i]) / value(others[i]) for i in ours
                       if i in others and value(others[i]) > 0])

    def times(self, workload, name, base=BASE):
        if workload.is_timeless:
            return None
        return self.ratios(workload, name, workload.seconds, base)

    def peaks(self, workload, name):
        return self.ratios(workload, name, lambda sample: sample.peak)

    def is_heavy(self, workload):
        return self.shares.get(workload.name, 0) >= HEAVY_SHARE

    def members(self, group):
        chosen = {
            "real, malloc-heavy": lambda w: w.group == "real" and self.is_heavy(w),
            "real, other, each": lambda w: w.group == "real" and not self.is_heavy(w),
            "micro, 1 thread": lambda w: w.group == "micro" and w.threads == 1,
            "micro, 2 and 4 threads": lambda w: w.group == "micro" and w.threads > 1,
            "every free remote": lambda w: getattr(w, "remote", False),
            "5 to 25 MiB blocks": lambda w: w.group == "big",
            "worst single workload": lambda w: not w.is_timeless,
            "threads made and ended": lambda w: w.name.startswith("threads-"),
            "size-mix change": lambda w: w.group == "phase",
        }[group]
        return [w for w in self.workloads if chosen(w)]

    def group(self, group, name, ratios):
        """One figure for the group; and where it is that of the worst workload, all of them with
        their figures, the worst first."""
        medians = [(r.median, w.name) for w in self.members(group) if (r := ratios(w, name))]
        if not medians:
            return None, []
        if group in ("real, other, each", "worst single workload"):
            medians.sort(reverse=True)
            return medians[0][0], medians
        return geomean([m for m, _ in medians]), []

    def noise(self, group, name):
        """Half of what lies between the least and the most ratio: the median over the group."""
        halves = [(r.most - r.least) / 2 for w in self.members(group)
                  if (r := self.times(w, name))]
        return statistics.median(halves) if halves else None

    def cost_of_collecting(self):
        """collect=on to collect=off, over all workloads that are timed."""
        return geomean([r.median for w in self.workloads
                        if (r := self.times(w, OURS, OURS_OFF))])

    def steps(self, workload, name):
        """Of the phase test: (step, median of resident, live) in the order of the steps."""
        samples = list(self.of(workload, name).values())
        if not samples:
            return []
        return [(step[0], statistics.median(s.steps[i][1] for s in samples), step[2])
                for i, step in enumerate(samples[0].steps)]

    def disturbed(self):
        samples = [s for rounds in self.samples.values() for s in rounds.values()]
        return sum(s.disturbed for s in samples), len(samples)
