# trial.py: one run of a suite, in a folder of its own, under plain malloc or under the library; what
# its cycle logs say; and the end of every process that it started.
#
# Test suites start daemons and sessions of their own, so killing a process group is not enough. This
# process makes itself the reaper of all its descendants: whatever is still there after a run has
# become its child, and is killed.
import collections, ctypes, os, signal, subprocess, time

LIBRARY = os.environ["RECLAIM_TEST_LIBRARY"]
PR_SET_CHILD_SUBREAPER = 36
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    raise OSError(ctypes.get_errno(), "prctl")

class Log:
    """What the cycle logs of all processes of a run add up to."""
    def __init__(self, folder):
        self.processes = self.done = self.skipped = self.false = 0
        self.reasons, self.longest, self.first_false = collections.Counter(), 0.0, ""
        for name in os.listdir(folder):
            if name.startswith("cycles."): self.read(os.path.join(folder, name))

    def read(self, path):
        findings = counted = 0
        self.processes += 1
        with open(path, errors="replace") as file:
            for line in file:
                fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
                if "] false-reclaim " in line:
                    findings += 1
                    self.first_false = self.first_false or line.strip()
                elif fields.get("result") == "done":
                    self.done += 1
                    self.longest = max(self.longest, float(fields["pause"]))
                elif fields.get("result") == "skipped":
                    self.skipped += 1
                    self.reasons[fields["why"]] += 1
                counted = int(fields.get("false", counted))
        self.false += max(findings, counted)

def children():
    with open("/proc/self/task/%d/children" % os.getpid()) as file: return [int(p) for p in file.read().split()]

def end_all():
    """Kills what a run has left behind; each round makes the next generation ours."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = children()
        if not left: return
        for process in left:
            try: os.kill(process, signal.SIGKILL)
            except ProcessLookupError: pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0: pass
        except ChildProcessError: return
        time.sleep(0.02)

class Trial:
    """options: the value of RECLAIM, or None for plain malloc."""
    def __init__(self, prepare, folder, options, seconds, environment):
        os.makedirs(folder)
        self.folder, self.output = folder, os.path.join(folder, "out")
        temporary = os.path.join(folder, "tmp") # short enough for sockets' names
        os.mkdir(temporary)
        variables = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
                     "HOME": folder, "TMPDIR": temporary}
        variables.update(environment)
        if options is not None:
            os.mkdir(folder + "/log")
            os.chmod(folder + "/log", 0o777)
            variables.update(LD_PRELOAD=LIBRARY, RECLAIM="log=%s/log/cycles.%%p,confirm=1,%s" % (folder, options))
        begun = time.monotonic()
        with open(self.output, "wb") as output:
            process = subprocess.Popen(prepare(folder), cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try: self.status = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired: self.status = None
            finally: # also when a signal ends this program
                try: os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError: pass
                process.wait()
                self.seconds = time.monotonic() - begun
                end_all()
        self.log = Log(folder + "/log") if options is not None else None
        self.cases = {}

    def text(self):
        with open(self.output, errors="replace") as file: return file.read()
