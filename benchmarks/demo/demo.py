#!/usr/bin/env python3
"""demo.py DEMO RECLAIM: runs a program from a Debian package that leaks, with and without Reclaim.

DEMO is jq, rrdtool or redis; RECLAIM is the launcher. Resident memory is sampled while the
program runs, what it writes is compared between the runs, and the figures of the collector come
from its own log. The exit status is 0 only when all runs went well and wrote the same bytes.
"""
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

SAMPLE_SECONDS = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
PLOT_WIDTH, PLOT_HEIGHT = 72, 14


class Failure(Exception):
    """Something that ends the demo, in one line."""


def shown(words, directory):
    """A command as one would type it in `directory`."""
    return shlex.join(words).replace(directory + "/", "")


class Run:
    """One run of a program: a name for the reader, a mark for the plot, and what came of it."""

    def __init__(self, name, mark, launcher=(), log=None):
        self.name, self.mark, self.launcher, self.log = name, mark, list(launcher), log
        self.samples = []  # (seconds since the start, resident bytes)
        self.seconds = 0.0
        self.bytes_out = 0
        self.digest = None

    def start(self, command, **keywords):
        self.process = subprocess.Popen(self.launcher + command, **keywords)
        self.started = time.monotonic()
        self.sampler = threading.Thread(target=self.sample)
        self.sampler.start()
        return self.process

    def sample(self):
        """The launcher becomes the program by exec, so its process id is the program's."""
        try:
            with open(f"/proc/{self.process.pid}/statm", "rb", buffering=0) as statm:
                while self.process.poll() is None:
                    statm.seek(0)
                    resident = int(statm.read().split()[1]) * PAGE
                    if resident:
                        self.samples.append((time.monotonic() - self.started, resident))
                    time.sleep(SAMPLE_SECONDS)
        except (OSError, IndexError):
            pass  # it ended between two looks

    def finish(self):
        status = self.process.wait()
        self.seconds = time.monotonic() - self.started
        self.sampler.join()
        if status != 0:
            raise Failure(f"{self.name}: {self.process.args[0]} failed with status {status}")

    def take_output(self, stream, ignore=None):
        """Digests what the program writes, without the lines that begin with `ignore`."""
        digest = hashlib.sha256()
        if ignore is None:
            for piece in iter(lambda: stream.read(1 << 20), b""):
                self.bytes_out += len(piece)
                digest.update(piece)
        else:
            for line in stream:
                if not line.startswith(ignore):
                    self.bytes_out += len(line)
                    digest.update(line)
        self.digest = digest.hexdigest()

    def peak(self):
        return max((resident for _, resident in self.samples), default=0)

    def last(self):
        return self.samples[-1][1] if self.samples else 0


def pipe_through(run, command, input_file, ignore=None):
    with open(input_file, "rb") as source:
        process = run.start(command, stdin=source, stdout=subprocess.PIPE)
        run.take_output(process.stdout, ignore)
    run.finish()


# --- The three programs -----------------------------------------------------------------------

def demo_jq(directory, runs):
    print("jq 1.6 leaks each time ltrimstr meets a value that is no string (jqlang/jq#2977).\n"
          "It strips a prefix throughout an event log of 600,000 records, made now.")
    events = os.path.join(directory, "events.json")
    with open(events, "w", encoding="ascii") as out:
        for i in range(600000):
            out.write('{"id":%d,"time":%d,"status":%d,"ms":%d,"release":"v%d.%d"}\n'
                      % (i, 1700000000 + i // 7, (200, 200, 304, 404)[i % 4], i * 31 % 977,
                         i % 5, i % 11))
    command = ["jq", "-c", '.. |= ltrimstr("v")']
    for run in runs:
        print(f"  {run.name}: {shown(run.launcher + command, directory)} < events.json", flush=True)
        pipe_through(run, command, events)


def demo_rrdtool(directory, runs):
    print("rrdtool's remote-control mode leaks the result of every xport\n"
          "(oetiker/rrdtool-1.x#1131). It answers 100,000 of them.")
    database = os.path.join(directory, "memory.rrd")
    start, step, rows = 1600000000, 60, 120
    names = ("free", "cached", "used")
    subprocess.run(["rrdtool", "create", database, "--start", str(start), "--step", str(step)]
                   + [f"DS:{name}:GAUGE:120:0:U" for name in names]
                   + [f"RRA:AVERAGE:0.5:1:{rows}"], check=True)
    updates = [f"{start + step * i}:{i * 37 % 101}:{i * 53 % 211}:{i * 71 % 307}"
               for i in range(1, rows + 1)]
    subprocess.run(["rrdtool", "update", database] + updates, check=True)
    xport = (f"xport --json --start {start + step} --end {start + step * 100}"
             + "".join(f" DEF:{name}={database}:{name}:AVERAGE" for name in names)
             + "".join(f" XPORT:{name}:{name}" for name in names) + "\n")
    commands = os.path.join(directory, "commands")
    with open(commands, "w", encoding="ascii") as out:
        out.write(xport * 100000)
    command = ["rrdtool", "-"]
    for run in runs:
        print(f"  {run.name}: {shown(run.launcher + command, directory)} < commands", flush=True)
        # After each answer rrdtool prints the time it took, which no two runs share.
        pipe_through(run, command, commands, ignore=b"OK u:")


def demo_redis(directory, runs):
    print("redis-server does not leak. Here the leak is INJECTED: Reclaim ignores 20 % of the\n"
          "calls of free() (drop-free=20). redis-benchmark loads the server with 1,800,000\n"
          "requests, then a fixed list of 30,000 commands is sent, whose answers are compared.")
    questions = os.path.join(directory, "questions")
    with open(questions, "w", encoding="ascii") as out:
        out.write("flushall\n")
        for i in range(10000):
            out.write(f"set key:{i % 3000} {'x' * (i * 13 % 500)}{i}\n"
                      f"rpush list:{i % 100} {i}\nget key:{i * 7 % 3000}\n")
        for i in range(100):
            out.write(f"lrange list:{i} 0 -1\n")
    socket = os.path.join(directory, "socket")
    for run in runs:
        server = ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                  "--appendonly", "no", "--dir", directory, "--loglevel", "warning"]
        print(f"  {run.name}: {shown(run.launcher + ['redis-server'], directory)} ...", flush=True)
        run.start(server, stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                if os.path.exists(socket):
                    break
                if run.process.poll() is not None:
                    break
                time.sleep(0.1)
            subprocess.run(["redis-benchmark", "-s", socket, "-q", "-n", "600000", "-r", "50000",
                            "-d", "400", "-P", "8", "-t", "set,get,hset"],
                           check=True, stdout=subprocess.DEVNULL)
            with open(questions, "rb") as source:
                client = subprocess.Popen(["redis-cli", "-s", socket], stdin=source,
                                          stdout=subprocess.PIPE)
                run.take_output(client.stdout)
                client.wait()
            subprocess.run(["redis-cli", "-s", socket, "shutdown", "nosave"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        except BaseException:
            run.process.kill()
            raise
        finally:
            if os.path.exists(socket) and run.process.poll() is not None:
                os.unlink(socket)
        run.finish()
        if os.path.exists(socket):
            os.unlink(socket)


# --- What is shown ----------------------------------------------------------------------------

def plot(runs):
    """Resident memory over time, one mark for each run, as plain text."""
    top = max(run.peak() for run in runs)
    end = max(run.seconds for run in runs)
    grid = [[" "] * PLOT_WIDTH for _ in range(PLOT_HEIGHT)]
    for run in runs:
        for seconds, resident in run.samples:
            column = min(int(seconds / end * PLOT_WIDTH), PLOT_WIDTH - 1)
            row = min(int(resident / top * PLOT_HEIGHT), PLOT_HEIGHT - 1)
            grid[PLOT_HEIGHT - 1 - row][column] = run.mark
    print("\nResident memory, MiB")
    for i, line in enumerate(grid):
        label = "" if i % 3 else f"{top * (PLOT_HEIGHT - i) / PLOT_HEIGHT / MIB:.0f}"
        print(f"{label:>7} |{''.join(line).rstrip()}")
    print(" " * 7 + " +" + "-" * PLOT_WIDTH)
    print(" " * 9 + "0" + f"{end:.1f} seconds".rjust(PLOT_WIDTH - 1))
    for run in runs:
        print(f"  {run.mark} {run.name:<40} peak {run.peak() / MIB:7.1f} MiB"
              f"   end {run.last() / MIB:7.1f} MiB   {run.seconds:6.1f} s")


def read_log(path):
    """Adds up the cycles in a log of Reclaim's; the closing line, if any, knows best."""
    totals = {"cycles": 0, "skipped": 0, "reclaimed": 0, "longest_pause": 0.0, "dropped": 0,
              "recovered": 0}
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            lines = log.readlines()
    except OSError:
        raise Failure("Reclaim wrote no log: it did not run in the program") from None
    for line in lines:
        fields = dict(re.findall(r"([a-z_]+)=(\S+)", line))
        if re.match(r"reclaim\[\d+\] exit ", line):
            for key in totals:
                if key in fields:
                    totals[key] = type(totals[key])(fields[key])
        elif "cycle" in fields:
            if fields.get("result") == "done":
                totals["cycles"] += 1
                totals["reclaimed"] += int(fields.get("reclaimed", 0))
            else:
                totals["skipped"] += 1
            totals["longest_pause"] = max(totals["longest_pause"], float(fields.get("pause", 0)))
    return totals


def report(runs):
    plot(runs)
    with_collector = runs[-1]
    totals = read_log(with_collector.log)
    print(f"\n{totals['cycles']} collections ({totals['skipped']} given up), "
          f"{totals['reclaimed'] / MIB:.1f} MiB reclaimed, "
          f"longest pause {totals['longest_pause']:.2f} ms.")
    if totals["dropped"]:
        print(f"{totals['dropped']} calls of free() were dropped; the blocks of "
              f"{totals['recovered']} came back.")
    if len({run.digest for run in runs}) != 1:
        raise Failure("the outputs differ: " + ", ".join(
            f"{run.name} {run.bytes_out} bytes {run.digest[:12]}" for run in runs))
    print(f"The outputs are the same: {with_collector.bytes_out} bytes, SHA-256 "
          f"{with_collector.digest[:16]}...")


def main():
    demos = {"jq": demo_jq, "rrdtool": demo_rrdtool, "redis": demo_redis}
    if len(sys.argv) != 3 or sys.argv[1] not in demos:
        print("usage: demo.py jq|rrdtool|redis RECLAIM", file=sys.stderr)
        return 2
    name, given = sys.argv[1:]
    launcher = os.path.abspath(given)
    for variable in ("RECLAIM", "LD_PRELOAD"):
        os.environ.pop(variable, None)  # the run with plain malloc means it
    directory = tempfile.mkdtemp(prefix="reclaim-demo-")
    log = os.path.join(directory, "log")
    runs = [Run("plain malloc", ".")]
    if name == "redis":
        runs.append(Run("20 % of frees dropped, no collection", "o",
                        [launcher, "--drop-free=20", "--collect=off"]))
        runs.append(Run("20 % of frees dropped, Reclaim", "#",
                        [launcher, "--drop-free=20", f"--log={log}"], log))
    else:
        runs.append(Run("Reclaim", "#", [launcher, f"--log={log}"], log))
    try:
        demos[name](directory, runs)
        report(runs)
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"\nRun a program of your own:  {given} PROGRAM ARGUMENTS...\n"
          f"See it collect:             {given} --log=stderr PROGRAM ARGUMENTS...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
