"""share.py: which part of a program's cycles is spent in glibc's malloc: by perf, from samples.

Counted are the functions of malloc.c by name, for which the debugging symbols of libc are needed
(package libc6-dbg): most of them are static. What the kernel does because of malloc (page faults,
mmap) is not counted; nor is waiting."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile

FREQUENCY = 2000
LEAST_SAMPLES = 100
OF_MALLOC = re.compile(
    r"(__libc_|__GI___|__)?(malloc|c?free|calloc|realloc|reallocarray|memalign|aligned_alloc|"
    r"posix_memalign|valloc|pvalloc|malloc_usable_size)$|"
    r"_int_(malloc|free|realloc|memalign)|_mid_memalign|malloc_consolidate|unlink_chunk|sysmalloc|"
    r"systrim|heap_trim|(new|delete|grow|shrink)_heap|tcache_|arena_get|munmap_chunk|mremap_chunk|"
    r"ptmalloc_|alloc_perturb|free_perturb|__(default|glibc)_morecore|__malloc_")


class Unmeasured(Exception):
    """With the reason."""


def from_report(text):
    """The share from what perf report prints: lines "overhead|object|symbol"."""
    total = share = 0.0
    resolved = False
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 3 or not fields[0].endswith("%"):
            continue
        overhead, of = float(fields[0][:-1]), fields[1]
        symbol = fields[2].split("] ")[-1].split("@")[0]
        total += overhead
        if of.startswith("libc"):
            resolved = resolved or symbol.startswith("_int_")
            share += overhead if OF_MALLOC.match(symbol) else 0
    if total < 50:
        raise Unmeasured("perf report shows no samples")
    return share / total, resolved


def report(data):
    done = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-s",
                           "dso,sym", "-t", "|", "--percent-limit", "0"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Unmeasured("perf report: " + done.stderr.strip()[-100:])
    samples = re.search(r"# Samples: ([0-9.]+)([KM]?)", done.stdout)
    number = float(samples[1]) * {"": 1, "K": 1e3, "M": 1e6}[samples[2]] if samples else 0
    if number < LEAST_SAMPLES:
        raise Unmeasured(f"perf took {number:.0f} samples")
    share, resolved = from_report(done.stdout)
    if not resolved and share > 0.001 and not has_symbols():
        raise Unmeasured("perf finds no symbols of malloc.c (package libc6-dbg)")
    return share


def has_symbols():
    """Whether libc's debugging symbols are where perf looks for them."""
    return os.path.isdir("/usr/lib/debug/.build-id")


def record_arguments(data):
    return ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", data]


@contextlib.contextmanager
def attached(data, process_id):
    perf = subprocess.Popen(record_arguments(data) + ["-p", str(process_id)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        perf.send_signal(signal.SIGINT)
        perf.wait()


def measure(runner, workload, allocator, percent):
    """The share of that workload under glibc."""
    if not shutil.which("perf"):
        raise Unmeasured("there is no perf (package linux-perf)")
    if not has_symbols():
        raise Unmeasured("libc has no debugging symbols (package libc6-dbg)")
    with tempfile.TemporaryDirectory(dir=runner.directory) as folder:
        data = os.path.join(folder, "data")
        if workload.server:
            runner.server(workload, allocator, percent, lambda pid: attached(data, pid))
        else:
            environment = {**os.environ, **allocator.environment(), **workload.environment}
            done = subprocess.run(record_arguments(data) + ["--"] + workload.command(percent),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, check=False, cwd=folder,
                                  env=environment)
            if done.returncode != 0:
                raise Unmeasured("perf record: " + done.stderr.strip()[-100:])
        return report(data)
