#!/usr/bin/env python3
"""bench.py: runs every workload under every allocator, round by round, and compares them.

In a round each workload is run under all allocators, one right after the other, in an order drawn
anew each time; so what else the machine does hits all alike, and ratios are taken within a round. A
warm-up of every run at a small size comes first and is not counted. See benchmarks/README."""
import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

import allocators
import plots
import share
import workloads
from figures import Figures
from inputs import Inputs
from report import Report
from running import Failed, Runner

FULL, QUICK, WARM_UP = 100, 12, 4  # percent of the work
STARTS = 25
LEAST_ROUNDS = 3


def arguments():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--build", default=".", help="the build folder, where all is built")
    parser.add_argument("--out", help="where the results go (BUILD/benchmarks/results)")
    parser.add_argument("--quick", action="store_true", help="small sizes: about 2 minutes")
    parser.add_argument("--minutes", type=float, help="begin no round that would end later (15; --quick: 2)")
    parser.add_argument("--rounds", type=int, help="so many rounds, however long they take")
    parser.add_argument("--percent", type=int, help="share of the work (100; --quick: 12)")
    parser.add_argument("--only", default="", metavar="NAME,...",
                        help="these workloads: by name, group (real, micro) or pattern")
    parser.add_argument("--allocators", default="", metavar="NAME,...", help="these, and glibc")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=OPTIONS",
                        help="Reclaim once more, with these options")
    parser.add_argument("--library", action="append", default=[], metavar="NAME=PATH",
                        help="one more library, another build of Reclaim perhaps")
    parser.add_argument("--no-share", action="store_true", help="no perf: do not measure the share")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the runs")
    parser.add_argument("--time", choices=["wall", "cpu"],
                        help="what counts, for all workloads alike (each has its own)")
    parser.add_argument("--list", action="store_true", help="name the workloads")
    given = parser.parse_args()
    given.percent = given.percent or (QUICK if given.quick else FULL)
    given.minutes = given.minutes or (2 if given.quick else 15)
    given.out = given.out or os.path.join(given.build, "benchmarks", "results")
    return given


def split(text):
    return [part for part in text.split(",") if part]


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    huge = "unknown"
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="ascii") as file:
            huge = file.read().split("[")[1].split("]")[0]
    except OSError:
        pass
    return (f"{len(os.sched_getaffinity(0))} processors, {model}; Linux {platform.release()}; "
            f"{' '.join(platform.libc_ver())}; transparent huge pages: {huge}")


def commit():
    """The commit of the sources, and whether they were changed since."""
    done = subprocess.run(["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe",
                           "--always", "--dirty"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() or "no commit of git's"


class Bench:
    def __init__(self, given, runner, chosen, found):
        self.given, self.runner = given, runner
        self.figures = Figures(chosen, found)
        self.digests = {}
        self.random = random.Random(given.seed)

    def run_once(self, workload, allocator, percent):
        """A sample, or None when it failed; glibc's first answer is what the others must give."""
        if (workload.name, allocator.name) in self.figures.failures:
            return None
        try:
            sample = self.runner.run(workload, allocator, percent)
            right = self.digests.setdefault((workload.name, percent), sample.digest)
            if sample.digest != right:
                raise Failed(f"another result: {sample.digest}, not {right}")
        except Failed as failure:
            self.figures.fail(workload, allocator, str(failure))
            say(f"FAILED: {workload.name} under {allocator.name}: {failure}")
            return None
        return sample

    def warm_up(self):
        for workload in self.figures.workloads:
            workload.prepare(WARM_UP)
            workload.prepare(self.given.percent)
            for allocator in [] if workload.is_timeless else self.figures.allocators:
                self.run_once(workload, allocator, WARM_UP)

    def measure_shares(self):
        for workload in self.figures.workloads:
            if workload.group != "real":
                continue
            try:
                self.figures.shares[workload.name] = share.measure(
                    self.runner, workload, self.figures.allocators[0], max(self.given.percent, 50))
            except share.Unmeasured as reason:
                self.figures.why_unmeasured[workload.name] = str(reason)

    def run_round(self, number):
        for workload in self.figures.workloads:
            if workload.is_timeless and number > LEAST_ROUNDS:
                continue  # memory hardly varies
            order = list(self.figures.allocators)
            if number == 1:  # glibc's result is the one to compare with
                self.random.shuffle(order)
                order.sort(key=lambda a: a.name != allocators.BASE)
            else:
                self.random.shuffle(order)
            for allocator in order:
                sample = self.run_once(workload, allocator, self.given.percent)
                if sample:
                    self.figures.add(workload, allocator, number, sample)

    def run_rounds(self, began):
        number, longest = 0, 0.0
        while True:
            number += 1
            at = time.monotonic()
            self.run_round(number)
            now = time.monotonic()
            longest = max(longest, now - at)
            say(f"round {number} took {now - at:.0f} s")
            if self.given.rounds:
                if number >= self.given.rounds:
                    return
            elif number >= LEAST_ROUNDS and now + longest > began + self.given.minutes * 60:
                return

    def starts(self):
        """What a fresh `true` takes more than under glibc: medians of seconds and bytes."""
        folder = self.runner.directory
        seen = {a.name: [] for a in self.figures.allocators}
        for _ in range(STARTS):
            for allocator in self.figures.allocators:
                process = self.runner.start(["true"], allocator, {}, folder)
                process.wait()
                wall, _, peak = self.runner.finish(process, folder)
                seen[allocator.name].append((wall, peak))
        medians = {name: [statistics.median(column) for column in zip(*values)]
                   for name, values in seen.items()}
        base = medians.pop(allocators.BASE)
        return {name: (values[0] - base[0], values[1] - base[1])
                for name, values in medians.items()}


def say(line):
    print(line, file=sys.stderr, flush=True)


def main():
    given = arguments()
    began = time.monotonic()
    build = os.path.abspath(given.build)
    micro = os.path.join(build, "benchmarks", "micro", "micro")
    os.makedirs(given.out, exist_ok=True)
    everything, missing = workloads.all_workloads(micro, Inputs(os.path.join(given.out, "inputs")))
    if given.list:
        print("\n".join(f"{w.name:18} {w.group}" for w in everything))
        return 0
    chosen = workloads.select(everything, split(given.only))
    for workload in chosen:
        workload.time = given.time or workload.time
    for name in ("RECLAIM", "LD_PRELOAD"):
        os.environ.pop(name, None)
    found, absent = allocators.choose(os.path.join(build, ".libs", "libreclaim.so"),
                                      split(given.allocators), given.variant, given.library)
    for line in missing + absent:
        say(line)
    with tempfile.TemporaryDirectory(prefix="reclaim-bench-") as directory:
        runner = Runner(os.path.join(build, "benchmarks", "suite", "launch"), directory)
        runner.check()
        bench = Bench(given, runner, chosen, found)
        bench.warm_up()
        if not given.no_share:
            bench.measure_shares()
        say(f"warm-up and inputs took {time.monotonic() - began:.0f} s")
        bench.run_rounds(began)
        differences = bench.starts()
    heading = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()) + ", " + machine(),
               f"{bench.figures.rounds()} rounds at {given.percent} % of the work"]
    heading += [f"{a.name:14} {a.version()}" for a in found]
    heading += ["Reclaim's sources are at " + commit()] + missing + absent
    report = Report(bench.figures, heading)
    report.write_csv(given.out)
    text = report.text(differences)
    with open(os.path.join(given.out, "table.txt"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text)
    print(plots.draw(bench.figures, given.out))
    print(f"Everything stands in {given.out}, {time.monotonic() - began:.0f} s after the start.")
    ours = [name for _, name in bench.figures.failures if name in (allocators.OURS,
                                                                    allocators.OURS_OFF)]
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
