"""report.py: the tables and the CSV files."""
import csv
import os

import bounds
from allocators import BASE, OURS, OURS_OFF

NAME = 17


def ratio_cell(spread):
    return f"{spread.median:.2f} {spread.least:.2f}-{spread.most:.2f}" if spread else "-"


def figure(value):
    return f"{value:.3f}" if value else "-"


def verdict(value, limits):
    if value is None or limits is None:
        return ""
    return "met, aim met" if value <= limits[1] else "met" if value <= limits[0] else "NOT MET"


class Report:
    def __init__(self, figures, heading):
        self.figures = figures
        self.heading = heading
        self.others = [a.name for a in figures.allocators if a.name != BASE]
        self.lines = []

    def say(self, line=""):
        self.lines.append(line.rstrip())

    def ratio_table(self, title, ratios, absolute, with_share):
        self.say()
        self.say(title)
        columns = "".join(f"{name:>15}" for name in self.others)
        self.say(f"{'':{NAME}} {'malloc' if with_share else '':>6} {BASE:>9}{columns}")
        for workload in self.figures.workloads:
            cells = [ratios(workload, name) for name in self.others]
            if not any(cells) and not self.has_failed(workload):
                continue
            share = self.figures.shares.get(workload.name)
            shown = f"{share:6.1%}" if with_share and share is not None else ""
            row = f"{workload.name:{NAME}} {shown:>6} {absolute(workload):>9}"
            for name, cell in zip(self.others, cells):
                failed = (workload.name, name) in self.figures.failures
                row += f"{'failed' if failed else ratio_cell(cell):>15}"
            self.say(row)

    def has_failed(self, workload):
        return any(workload.name == name for name, _ in self.figures.failures)

    def seconds(self, workload):
        values = sorted(workload.seconds(s) for s in self.figures.of(workload, BASE).values())
        return f"{values[len(values) // 2]:.3f} s" if values else "-"

    def mebibytes(self, workload):
        values = sorted(s.peak for s in self.figures.of(workload, BASE).values())
        return f"{values[len(values) // 2] / 2**20:.1f} MB" if values else "-"

    def group_table(self, title, ratios, which):
        self.say()
        self.say(title)
        columns = "".join(f"{name:>12}" for name in self.others)
        self.say(f"{'':24}{columns}  at most   aim")
        for group, limits in bounds.BOUNDS.items():
            limit = limits[which]
            found = [self.figures.group(group, name, ratios) for name in self.others]
            if not any(value for value, _ in found):
                continue
            row = f"{group:24}" + "".join(f"{figure(value):>12}" for value, _ in found)
            if limit:
                row += f"  {limit[0]:7.2f} {limit[1]:5.2f}"
            if OURS in self.others:
                value, members = found[self.others.index(OURS)]
                row += "  " + verdict(value, limit) + self.above(members, limit)
            self.say(row)

    @staticmethod
    def above(members, limit):
        """The workloads that do not meet it, or else the worst one."""
        names = [name for value, name in members if limit and value > limit[0]]
        names = names or [name for _, name in members[:1]]
        return f" ({', '.join(names)})" if names else ""

    def against_peers(self):
        group = "real, malloc-heavy"
        peers = [n for n in self.others if n in ("jemalloc", "mimalloc", "tcmalloc")]
        figures = self.figures
        ours, _ = figures.group(group, OURS, figures.times)
        rivals = [(v, n) for n in peers if (v := figures.group(group, n, figures.times)[0])]
        if not ours or not rivals:
            return
        best, name = min(rivals)
        noise = figures.noise(group, OURS)
        self.say(f"{group}: {ours:.3f}, the best peer {name} {best:.3f}, noise {noise:.3f}: "
                 + ("met" if ours <= best + noise else "NOT MET"))

    def collecting(self):
        if OURS in self.others and OURS_OFF in self.others:
            cost = self.figures.cost_of_collecting()
            if cost:
                self.say(f"collect=on to collect=off, time, all workloads: {cost:.3f}, at most "
                         f"{bounds.COLLECTING:.2f}: {verdict(cost, (bounds.COLLECTING, 1.0))}")

    def phases(self):
        for workload in self.figures.workloads:
            if workload.is_timeless:
                self.phase_table(workload)

    def phase_table(self, workload):
        names = [a.name for a in self.figures.allocators]
        steps = {name: self.figures.steps(workload, name) for name in names}
        if not steps.get(BASE):
            return
        self.say()
        self.say(f"Resident memory in {workload.name}, MiB, and in brackets to what is live")
        self.say(f"{'':{NAME}} {'live':>7}" + "".join(f"{name:>15}" for name in names))
        for i, (step, _, live) in enumerate(steps[BASE]):
            row = f"{step:{NAME}} {live / 2**20:7.1f}"
            for name in names:
                if i < len(steps[name]):
                    resident = steps[name][i][1]
                    times = f"({resident / live:.2f})" if live * 100 > resident else "(>99)"
                    row += f"{resident / 2**20:7.1f} {times:>7}"
                else:
                    row += f"{'-':>15}"
            self.say(row)
        for step, resident, live in steps.get(OURS, []) if workload.group == "settle" else []:
            if step == "second-later" and live:
                self.say(f"{OURS}, a second after the peak was freed: {resident / live:.2f}, "
                         f"at most {bounds.SETTLED:.2f}: "
                         + verdict(resident / live, (bounds.SETTLED, bounds.SETTLED_AIM)))

    def starts(self, differences):
        """differences: name -> (seconds, bytes) more than glibc for a fresh `true`."""
        if not differences:
            return
        self.say()
        self.say("A fresh `true`: more than under glibc")
        for name, (seconds, size) in differences.items():
            row = f"{name:{NAME}} {seconds * 1000:7.2f} ms {size / 2**20:7.2f} MiB"
            if name == OURS:
                good = (seconds * 1000 <= bounds.START_MILLISECONDS
                        and size / 2**20 <= bounds.START_MEBIBYTES)
                row += (f"   at most {bounds.START_MILLISECONDS:.0f} ms, "
                        f"{bounds.START_MEBIBYTES:.0f} MiB: {'met' if good else 'NOT MET'}")
            self.say(row)

    def closing(self):
        self.say()
        disturbed, all_samples = self.figures.disturbed()
        self.say(f"{disturbed} of {all_samples} runs were disturbed by other programs.")
        for (workload, name), reason in self.figures.failures.items():
            self.say(f"FAILED: {workload} under {name}: {reason}")
        for name, reason in self.figures.why_unmeasured.items():
            self.say(f"share of malloc not measured, so it counts as other: {name}: {reason}")

    def text(self, differences):
        figures = self.figures
        self.lines = list(self.heading)
        self.ratio_table("Time, ratio to glibc: median, least-most of the rounds", figures.times,
                         self.seconds, True)
        self.ratio_table("Peak of resident memory, ratio to glibc", figures.peaks, self.mebibytes,
                         False)
        self.group_table("Time by group", figures.times, 0)
        self.against_peers()
        self.collecting()
        self.group_table("Peak memory by group", figures.peaks, 1)
        self.phases()
        self.starts(differences)
        self.closing()
        return "\n".join(self.lines) + "\n"

    def write_csv(self, directory):
        samples, ratios = (os.path.join(directory, name) for name in ("samples.csv", "ratios.csv"))
        with open(samples, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["workload", "allocator", "round", "wall_s", "cpu_s", "peak_bytes",
                          "disturbed", "digest"])
            for (workload, name), rounds in sorted(self.figures.samples.items()):
                for number, s in sorted(rounds.items()):
                    out.writerow([workload, name, number, s.wall, s.cpu, s.peak, int(s.disturbed),
                                  s.digest])
        with open(ratios, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["workload", "group", "threads", "malloc_share", "allocator",
                          "time", "time_least", "time_most", "peak", "peak_least", "peak_most"])
            for w in self.figures.workloads:
                for name in self.others:
                    times, peaks = self.figures.times(w, name), self.figures.peaks(w, name)
                    out.writerow([w.name, w.group, w.threads, self.figures.shares.get(w.name, ""),
                                  name, *(times or [""] * 3), *(peaks or [""] * 3)])
