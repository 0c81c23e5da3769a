# soak.py: servers under load, python's own tests, git, gcc and churning threads, all at the same time
# and for long: as anyone runs them, with leaks injected, and under the condemn oracle. Speaks TAP,
# and ends with one table of what was seen.
#
# RECLAIM_SOAK_SECONDS says how long in all: 210 in make check, 3600 in make soak. A third of it is
# for each phase of PHASES. In all of them three servers (redis, memcached, nginx) run from beginning to
# end under load.py, which checks every answer, while the batch jobs take turns. The jobs' output must
# be what it is under plain malloc. Below 20 minutes python has two of four tests to do.
#
# The bounds. Memory: the median resident set of a server in the second half of a phase may be at
# most a tenth and 4 MiB above that in the first half (a warm-up apart); churn judges its own. Leaks:
# 90 % of the calls of free that were dropped in a server are recovered; a server that dropped fewer
# than 1000 says so and is not judged, for what the last cycle could not yet see weighs too much.
# memcached, which hardly ever frees, is always such a one. Collections: one a second in each
# process of a server, and ten a second in all processes together. Skipped: below 5 %, in all.
#
# Why leaks are injected under free=quarantine. The injector leaves blocks behind that are full of
# pointers to their neighbours of that time, most of which were freed with them. Under free=trust
# those addresses are used again at once, for what is the next to be dropped, and so on: whatever
# the first of such a chain leads to is reachable when it is, and one stale word is enough for that
# (Boehm, "Bounding space usage of conservative garbage collectors", POPL 2002, with reused addresses
# in place of links). nginx has such words for good: the arrays of its variables' hash that lie in the
# configuration's pool still point to the temporary pool freed at start, and slots of closed
# connections to their pools. After 8 s under load and a pause 28 words of live memory led to dropped
# blocks, three of them each to all of the 10,000 that were left, which had four such targets each.
# redis has them in Lua's heap: the gray list's links in tables, and the unused part of its stack.
# So nginx got back 43 to 50 % of what was dropped, redis 68 to 76 % after 10 to 150 s (up to 98 % in
# other runs), and both grew; neither confirm=1 nor zero=on changes that much (nginx: 44 and 54 %). No
# root is to blame. Real leaks can do the same, which is a limit of free=trust: tests/programs/reused.c.
# Under free=quarantine an address is not used again while a word leads there, chains end where they
# began, and 99 % come back.
import collections, os, re, shutil, signal, statistics, subprocess, sys, tempfile, threading, time

SECONDS = float(os.environ["RECLAIM_SOAK_SECONDS"])
LIBRARY = os.environ["RECLAIM_TEST_LIBRARY"]
INPUTS = os.environ["RECLAIM_TEST_INPUTS"]
PROGRAMS = os.environ["RECLAIM_TEST_PROGRAMS"]
GROWTH, SLACK = 1.10, 4 << 20
LEAST_RECOVERED, LEAST_DROPPED, MOST_SKIPPED = 90.0, 1000, 5.0
LEAST_CYCLES, LEAST_CYCLES_IN_ALL = 1.0, 10.0 # a second
PHASES = {"reclaim": "", "inject": "free=quarantine,reclaim=on,drop-free=10,", "condemn": "check=condemn,"}
SERVER_PACE, JOB_PACE = "collect-every-ms=100", "collect-every-ms=20"
SERVERS = {"redis": ["redis.socket"], "memcached": ["memcached.socket"],
           "nginx": ["nginx.socket", "nginx-tls.socket"]}
SUITE = ["test_gc", "test_list"] + (["test_dict", "test_json"] if SECONDS >= 1200 else [])
JOBS = {
    "churn": [PROGRAMS + "/churn", "5", "8", "shares"],
    "git": ["sh", INPUTS + "/git.sh"],
    "gcc": ["sh", INPUTS + "/gcc.sh"],
    "python": ["/usr/bin/python3", INPUTS + "/suite.py"] + SUITE,
}
CHECKED_OUTPUT = ("python", "git", "gcc")
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}

class Log:
    """What the logs of one process, or of many, say."""
    def __init__(self):
        self.done = self.skipped = self.dropped = self.recovered = self.false = 0
        self.reasons, self.pauses, self.first_false = collections.Counter(), [0.0], ""

    def read(self, path):
        last, inherited = {}, 0
        with open(path, errors="replace") as file:
            for line in file:
                fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
                if "] false-reclaim " in line:
                    self.first_false = self.first_false or line.strip()
                elif fields.get("result") == "done":
                    self.done += 1
                    self.pauses.append(float(fields["pause"]))
                elif fields.get("result") == "skipped":
                    self.skipped += 1
                    self.reasons[fields["why"]] += 1
                # What is dropped at the very end no cycle sees any more.
                for name in ("dropped", "recovered", "false"):
                    if name in fields and (name == "false" or "result" in fields): last[name] = int(fields[name])
                # The child of a fork recovers what its parent dropped, too.
                inherited = max(inherited, last.get("recovered", 0) - last.get("dropped", 0))
        self.dropped += last.get("dropped", 0)
        self.recovered += last.get("recovered", 0) - inherited
        self.false += max(last.get("false", 0), 1 if self.first_false else 0)
        return self

    def read_all(self, folder):
        for name in os.listdir(folder):
            if name.startswith("cycles."): self.read(os.path.join(folder, name))
        return self

def child_environment(folder, options):
    environment = dict(ENVIRONMENT, HOME=folder)
    if options is not None:
        environment.update(LD_PRELOAD=LIBRARY, RECLAIM="log=%s/cycles.%%p,%s" % (folder, options))
    return environment

def start(command, folder, options, **more):
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o777)
    return subprocess.Popen(command, cwd=folder, env=child_environment(folder, options), stdin=subprocess.DEVNULL,
                            start_new_session=True, umask=0, **more)

def end_group(process):
    try: os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError: pass

def children_of(process):
    with open("/proc/%d/task/%d/children" % (process, process)) as file:
        return [int(p) for p in file.read().split()]

def resident(processes):
    total = 0
    for process in processes:
        with open("/proc/%d/statm" % process) as file: total += int(file.read().split()[1]) * 4096
    return total

class Server:
    """A server and its load, from the beginning of a phase to its end."""
    def __init__(self, name, folder, options, seconds):
        self.name, self.folder, self.seconds, self.samples, self.errors = name, folder, seconds, [], []
        self.process = start(["sh", INPUTS + "/serve.sh", name], folder, options)
        deadline = time.monotonic() + 30
        socket = os.path.join(folder, "back.socket" if name == "nginx" else SERVERS[name][0])
        while not os.path.exists(socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("%s does not start, see %s" % (name, folder))
            time.sleep(0.1)
        self.watched = [self.process.pid]
        if name == "nginx":
            while len(children_of(self.process.pid)) < 2 and time.monotonic() < deadline: time.sleep(0.1)
            self.watched += children_of(self.process.pid)
        self.begun = time.monotonic()
        with open(os.path.join(folder, "load"), "w") as output:
            self.load = subprocess.Popen([ENVIRONMENT_PYTHON, INPUTS + "/load.py", name, "%ds" % seconds] + SERVERS[name],
                                         cwd=folder, env=child_environment(folder, None), stdout=output,
                                         stderr=subprocess.STDOUT, start_new_session=True)

    def sample(self):
        if self.process.poll() is None:
            self.samples.append((time.monotonic() - self.begun, resident(self.watched)))

    def end(self):
        try:
            if self.load.wait(timeout=60) != 0:
                self.errors.append("load failed: " + open(os.path.join(self.folder, "load")).read()[-400:])
        except subprocess.TimeoutExpired:
            self.errors.append("load hangs")
        self.answers = open(os.path.join(self.folder, "load")).read().split("\n")[0]
        if self.process.poll() is not None:
            self.errors.append("server ended by itself with %d" % self.process.returncode)
        else:
            self.process.send_signal(signal.SIGQUIT if self.name == "nginx" else signal.SIGTERM)
            try:
                status = self.process.wait(timeout=30)
                if status != 0: self.errors.append("server ended with %d" % status)
            except subprocess.TimeoutExpired:
                self.errors.append("server does not end")
        end_group(self.load)
        end_group(self.process)
        self.log = Log()
        for process in self.watched[1:] or self.watched:
            path = os.path.join(self.folder, "cycles.%d" % process)
            if os.path.exists(path): self.log.read(path)
        self.workers = len(self.watched[1:] or self.watched)
        warm = self.seconds * 0.1
        early = [size for at, size in self.samples if warm <= at < self.seconds * 0.55]
        late = [size for at, size in self.samples if self.seconds * 0.55 <= at < self.seconds]
        self.early = statistics.median(early) if early else 0
        self.late = statistics.median(late) if late else 0

class Jobs(threading.Thread):
    """The batch jobs, one after the other, until the time is over."""
    def __init__(self, folder, options, until, expected):
        super().__init__()
        self.folder, self.options, self.until, self.expected = folder, options, until, expected
        self.runs, self.errors, self.logs = collections.Counter(), [], {name: Log() for name in JOBS}

    def run(self):
        turn = 0
        while time.monotonic() < self.until and len(self.errors) < 5:
            name = list(JOBS)[turn % len(JOBS)]
            folder = os.path.join(self.folder, "%s-%d" % (name, turn))
            status, output, errors = run_job(name, folder, self.options)
            wrong = status != 0 and "status %d" % status
            if name in CHECKED_OUTPUT:
                wrong = (status, output) != self.expected[name] and "status %d, other output" % status
            self.logs[name].read_all(folder)
            self.runs[name] += 1
            if wrong: self.errors.append("%s: %s, see %s\n%s" % (name, wrong, folder, errors[-400:]))
            else: shutil.rmtree(folder)
            turn += 1

def run_job(name, folder, options):
    command = JOBS[name]
    if name == "churn" and "condemn" in options: command = command + ["grows"]
    process = start(command, folder, options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        end_group(process)
        output, errors = process.communicate()
        errors += "\nkilled after 300 s"
    end_group(process)
    return process.returncode, output, errors

class Tap:
    def __init__(self): self.count = self.failed = 0
    def ok(self, good, text):
        self.count += 1
        self.failed += not good
        print("%s %d - %s" % ("ok" if good else "not ok", self.count, text.replace("#", "")), flush=True)

def judge(tap, table, phase, seconds, servers, jobs):
    rows = [(s.name, s.log, s.answers, s) for s in servers] + \
           [(name, jobs.logs[name], "%d runs" % jobs.runs[name], None) for name in JOBS]
    for name, log, work, server in rows:
        share = 100.0 * log.recovered / log.dropped if log.dropped else 0
        table.append((phase, name, work.split(": ")[-1], log.done, log.skipped,
                      " ".join("%s:%d" % r for r in log.reasons.items()) or "-", "%.1f" % max(log.pauses),
                      "%.1f > %.1f" % (server.early / 2**20, server.late / 2**20) if server else "-",
                      "%d" % log.dropped if log.dropped else "-", "%.1f %%" % share if log.dropped else "-", log.false))
        tap.ok(log.false == 0, "%s %s: no false reclaim (%d) %s" % (phase, name, log.false, log.first_false))
        if server is None: continue
        tap.ok(not server.errors, "%s %s: %s; %s" % (phase, name, work, "; ".join(server.errors) or "no error"))
        bound = server.early * GROWTH + SLACK
        tap.ok(0 < server.late <= bound, "%s %s: %.1f MiB, then %.1f MiB, at most %.1f MiB" %
               (phase, name, server.early / 2**20, server.late / 2**20, bound / 2**20))
        least = LEAST_CYCLES * seconds * server.workers
        tap.ok(log.done >= least, "%s %s: %d collections, at least %d" % (phase, name, log.done, least))
        if log.dropped >= LEAST_DROPPED:
            tap.ok(share >= LEAST_RECOVERED, "%s %s: %d of %d injected leaks recovered (%.1f %%)" %
                   (phase, name, log.recovered, log.dropped, share))
        elif log.dropped:
            print("# %s %s: only %d leaks injected, not judged" % (phase, name, log.dropped))
    tap.ok(not jobs.errors, "%s jobs: %s" % (phase, " ".join("%s %d times" % r for r in jobs.runs.items())))
    for error in jobs.errors: print("# " + error.replace("\n", "\n# "))
    done, skipped = (sum(getattr(row[1], field) for row in rows) for field in ("done", "skipped"))
    tap.ok(skipped < MOST_SKIPPED / 100 * (done + skipped) or not skipped,
           "%s: %d of %d cycles skipped" % (phase, skipped, done + skipped))
    return done

def run_phase(tap, table, folder, phase, seconds, expected):
    folder = os.path.join(folder, phase)
    servers = [Server(name, os.path.join(folder, name), PHASES[phase] + SERVER_PACE, seconds) for name in SERVERS]
    jobs = Jobs(folder, PHASES[phase] + JOB_PACE, time.monotonic() + seconds, expected)
    jobs.start()
    while time.monotonic() < jobs.until:
        for server in servers: server.sample()
        time.sleep(min(1.0, seconds / 100))
    for server in servers: server.end()
    jobs.join()
    return judge(tap, table, phase, seconds, servers, jobs)

def main():
    folder = tempfile.mkdtemp(prefix="reclaim-test-soak-")
    os.chmod(folder, 0o777)
    tap, table = Tap(), []
    expected = {}
    for name in CHECKED_OUTPUT:
        status, output, errors = run_job(name, os.path.join(folder, "plain-" + name), None)
        if status != 0:
            print("Bail out! %s fails under plain malloc: %s" % (name, errors[-400:].replace("\n", " ")))
            sys.exit(99)
        expected[name] = (status, output)
        shutil.rmtree(os.path.join(folder, "plain-" + name))
    done = sum(run_phase(tap, table, folder, phase, SECONDS / len(PHASES), expected) for phase in PHASES)
    tap.ok(done >= LEAST_CYCLES_IN_ALL * SECONDS, "%d collections in all, at least %d" % (done, LEAST_CYCLES_IN_ALL * SECONDS))
    print("1..%d" % tap.count)
    table.insert(0, ("phase", "program", "work", "cycles", "skipped", "why", "pause ms", "MiB half > half", "dropped", "recovered", "false"))
    widths = [max(len(str(row[i])) for row in table) for i in range(len(table[0]))]
    for row in table:
        print("# " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
    if tap.failed == 0 and not os.environ.get("RECLAIM_TEST_KEEP"): shutil.rmtree(folder)
    else: print("# files in " + folder)
    sys.exit(1 if tap.failed else 0)

ENVIRONMENT_PYTHON = "/usr/bin/python3"
main()
