"""running.py: one run of one workload under one allocator, measured by launch.c.

Wall and processor time, peak of resident memory, and a digest of what the program printed. A
sample is `disturbed` when other programs used the processors meanwhile (more than 8 % of its wall
time and 30 ms); nothing is dropped for that, but the number is told."""
import hashlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections import namedtuple

Sample = namedtuple("Sample", "wall cpu peak digest disturbed steps")
DEADLINE = 120
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A run that ended badly, with what is known about it."""


def busy_seconds():
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(
            int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def is_disturbed(foreign, wall):
    """Of a run: seconds of the processors that went to others, and how long it took."""
    return foreign > 0.08 * wall + 0.03


def read_result(path):
    with open(path, encoding="ascii") as file:
        fields = file.read().split()
    if len(fields) != 4:
        raise Failed("launch did not report")
    wall, cpu, peak, status = map(int, fields)
    return wall / 1e6, cpu / 1e6, peak * 1024, status


def describe(status):
    if os.WIFSIGNALED(status):
        return "killed by " + signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.WEXITSTATUS(status)}"


def last_line(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().strip().splitlines()
    return ": " + lines[-1][:200] if lines else ""


class Runner:
    """Knows where launch is and has a folder of its own for what a run leaves behind."""

    def __init__(self, launch, directory):
        self.launch = os.path.abspath(launch)
        self.directory = os.path.abspath(directory)

    def check(self):
        """dd's buffer is a peak that is known: what it adds must be what launch reports."""
        class Plain:
            environment = staticmethod(dict)
        peaks = []
        for size in (1, 65):
            process = self.start(["dd", "if=/dev/zero", "of=/dev/null", f"bs={size}M", "count=1"],
                                 Plain, {}, self.directory)
            process.wait()
            peaks.append(self.finish(process, self.directory)[2] / 2**20)
        if not 63 < peaks[1] - peaks[0] < 65:
            raise SystemExit(f"bench: 64 MiB more were measured as {peaks[1] - peaks[0]:.1f} MiB")

    def start(self, command, allocator, extra, folder):
        settings = {**allocator.environment(), **extra}
        with open(os.path.join(folder, "stdout"), "wb") as out, \
             open(os.path.join(folder, "stderr"), "wb") as err:
            return subprocess.Popen(
                [self.launch, os.path.join(folder, "used"),
                 *[f"{name}={value}" for name, value in settings.items()], "--", *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
                start_new_session=True)

    def finish(self, process, folder, may_end_by=()):
        if process.returncode != 0:
            raise Failed("launch failed" + last_line(os.path.join(folder, "stderr")))
        wall, cpu, peak, status = read_result(os.path.join(folder, "used"))
        ended_well = status == 0 or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in may_end_by)
        if not ended_well:
            raise Failed(describe(status) + last_line(os.path.join(folder, "stderr")))
        return wall, cpu, peak

    def program(self, workload, allocator, percent):
        """Runs a program to its end."""
        with tempfile.TemporaryDirectory(dir=self.directory) as folder:
            before = busy_seconds()
            process = self.start(workload.command(percent), allocator, workload.environment, folder)
            try:
                process.wait(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                raise Failed(f"not done after {DEADLINE} s") from None
            finally:
                end_session(process)
            foreign = busy_seconds() - before
            wall, cpu, peak = self.finish(process, folder)
            steps, digest = [], hashlib.sha256()
            with open(os.path.join(folder, "stdout"), "rb") as out:
                for line in out:
                    if line.startswith(b"step "):
                        _, name, resident, live = line.decode().split()
                        steps.append((name, int(resident) * 1024, int(live) * 1024))
                    else:
                        digest.update(line)
            disturbed = is_disturbed(foreign - cpu, wall)
            return Sample(wall, cpu, peak, digest.hexdigest()[:16], disturbed, steps)

    def server(self, workload, allocator, percent, watch=None):
        """Starts a server, loads it with a fixed number of requests, and ends it. watch(process
        id) is entered as a context around the load."""
        with tempfile.TemporaryDirectory(dir=self.directory) as folder:
            address = os.path.join(folder, "socket")
            process = self.start(workload.server(folder), allocator, workload.environment, folder)
            try:
                await_socket(address, process, folder)
                if watch:
                    with watch(only_child(process.pid)):
                        digest = workload.load(folder, percent)
                else:
                    digest = workload.load(folder, percent)
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                raise Failed(f"not done after {DEADLINE} s") from None
            except (OSError, subprocess.CalledProcessError) as error:
                raise Failed(f"{error}" + last_line(os.path.join(folder, "stderr"))) from None
            finally:
                end_session(process)
            wall, cpu, peak = self.finish(process, folder, (signal.SIGTERM,))
            return Sample(wall, cpu, peak, digest, False, [])

    def run(self, workload, allocator, percent):
        return (self.server if workload.server else self.program)(workload, allocator, percent)


def only_child(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return int(children.read().split()[0])


def await_socket(address, process, folder):
    for _ in range(1000):
        if process.poll() is not None:
            raise Failed("the server ended at once" + last_line(os.path.join(folder, "stderr")))
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(address)
            return
        except OSError:
            time.sleep(0.01)
    raise Failed("the server does not listen")


def end_session(process):
    """Whatever is left of what launch started, launch included."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
