"""share.py: which part of a program's cycles is spent in glibc's malloc: by perf, from samples.
Where there is no perf, callgrind's count of instructions stands in for programs (not for servers).

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
CALLGRIND_PERCENT = 5
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
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 3 or not fields[0].endswith("%"):
            continue
        overhead, of = float(fields[0][:-1]), fields[1]
        symbol = fields[2].split("] ")[-1].split("@")[0]
        total += overhead
        if of.startswith("libc"):
            share += overhead if OF_MALLOC.match(symbol) else 0
    if total < 50:
        raise Unmeasured("perf report shows no samples")
    return share / total


def report(data):
    done = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-s",
                           "dso,sym", "-t", "|", "--percent-limit", "0"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Unmeasured("perf report: " + done.stderr.strip()[-100:])
    samples = re.search(r"# Samples: ([0-9.]+)([KM]?)", done.stdout)
    taken = float(samples[1]) * {"": 1, "K": 1e3, "M": 1e6}[samples[2]] if samples else 0
    if taken < LEAST_SAMPLES:
        raise Unmeasured(f"perf took {taken:.0f} samples")
    return from_report(done.stdout)


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


def perf_share(runner, workload, allocator, percent, folder):
    data = os.path.join(folder, "data")
    if workload.server:
        runner.server(workload, allocator, percent, lambda pid: attached(data, pid))
    else:
        run_under(record_arguments(data), workload, allocator, percent, folder)
    return report(data)


def callgrind_share(workload, allocator, folder):
    """Of the instructions; at a small size, since callgrind is slow."""
    data = os.path.join(folder, "data")
    run_under(["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=" + data], workload,
              allocator, CALLGRIND_PERCENT, folder)
    text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", data],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=False).stdout
    total = re.search(r"^ *([0-9,]+) .*PROGRAM TOTALS", text, re.MULTILINE)
    if not total:
        raise Unmeasured("callgrind_annotate shows no total")
    counts = re.findall(r"^ *([0-9,]+) \([^)]*\)  \S*/malloc\.c:\S+ \[", text, re.MULTILINE)
    return sum(map(number, counts)) / number(total[1])


def number(text):
    return int(text.replace(",", ""))


def run_under(tool, workload, allocator, percent, folder):
    done = subprocess.run(tool + ["--"] + workload.command(percent), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          check=False, cwd=folder,
                          env={**os.environ, **allocator.environment(), **workload.environment})
    if done.returncode != 0:
        raise Unmeasured(f"{tool[0]}: " + done.stderr.strip()[-100:])


def measure(runner, workload, allocator, percent):
    """The share of that workload under glibc."""
    if not has_symbols():
        raise Unmeasured("libc has no debugging symbols (package libc6-dbg)")
    with tempfile.TemporaryDirectory(dir=runner.directory) as folder:
        if shutil.which("perf"):
            return perf_share(runner, workload, allocator, percent, folder)
        if shutil.which("valgrind") and not workload.server:
            workload.prepare(CALLGRIND_PERCENT)
            return callgrind_share(workload, allocator, folder)
        raise Unmeasured("there is no perf (package linux-perf)")
