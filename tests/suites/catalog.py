# catalog.py: the suites: how each is made ready, started, and read. A suite's results are a dictionary
# from the name of a test to what came of it; each must be the same under plain malloc and under the
# library.
#
# every: after how many allocations of a process the condemn oracle collects; pace: after how many
# milliseconds the reclaiming run does; seconds: the deadline of a run. A long suite is run in the two main
# modes only, unless RECLAIM_SUITES=all.
import collections, os, re, shutil, sys, test, xml.etree.ElementTree as tree
from sources import Missing, installed_version, run, upstream

def number(pairs):
    """A dictionary of (name, result) pairs in which names may come twice."""
    seen, cases = collections.Counter(), {}
    for name, result in pairs:
        seen[name] += 1
        cases[name if seen[name] == 1 else "%s (%d)" % (name, seen[name])] = result
    return cases

ALL = os.environ.get("RECLAIM_SUITES") == "all"

class Suite:
    every, pace, seconds, long = 5000, 5, 600, False
    asked = False # only when it is named, or with RECLAIM_SUITES=all
    environment = {}
    left_out = () # by name, under plain malloc as well, for the reason given where it is set
    def prepare(self, sources): pass

class Python(Suite):
    """One of python's own test modules, from the package of its test suite, by its own runner."""
    # No peer for a vsock connection to oneself: accept waits without a limit of time.
    LEFT_OUT = {"test_socket": ("*ThreadedVSOCKSocketStreamTest*",)}

    # Debian's package of the test suite leaves these out: they come from the source package.
    NOT_PACKAGED = ("test_sqlite3",)

    def __init__(self, module, every=500, pace=20, seconds=300, long=False, malloc=False):
        self.module, self.every, self.pace, self.seconds, self.long = module, every, pace, seconds, long
        self.left_out = self.LEFT_OUT.get(module, ())
        self.name = module + ("/malloc" if malloc else "")
        self.environment = {"PYTHONHASHSEED": "0"}
        if malloc: self.environment["PYTHONMALLOC"] = "malloc" # every object in the library's heap

    def prepare(self, sources):
        package = "python%d.%d" % sys.version_info[:2]
        installed_version("lib%s-testsuite" % package)
        if self.module not in self.NOT_PACKAGED: return
        tests = sources.tree(package, package) + "/Lib/test"
        package = tests + "/.with/test" # a package test with what is installed and this module
        if not os.path.exists(package):
            os.makedirs(package)
            installed = os.path.dirname(test.__file__)
            for name in os.listdir(installed): os.symlink(os.path.join(installed, name), os.path.join(package, name))
            os.symlink(os.path.join(tests, self.module), os.path.join(package, self.module))
        self.environment["PYTHONPATH"] = os.path.dirname(package)

    def command(self, folder):
        command = ["/usr/bin/python3", "-m", "test", "--junit-xml", folder + "/report.xml", self.module]
        for name in self.left_out: command += ["-i", name]
        return command

    def read(self, trial):
        try: cases = list(tree.parse(trial.folder + "/report.xml").iter("testcase"))
        except (OSError, tree.ParseError): return {}
        def result(case):
            marks = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            return "+".join(marks) or case.get("result", "run")
        return number((case.get("name"), result(case)) for case in cases)

class Redis(Suite):
    """redis's units, against a server built from Debian's sources with libc's malloc: the installed one
    brings an allocator of its own, whose statistics some of the tests read."""
    every, pace, seconds, long = 200000, 200, 1500, True
    # Half of the time: a suite of their own, redis-slow.
    SLOW = ("unit/geo", "unit/hyperloglog", "unit/maxmemory", "unit/type/list-3")

    def __init__(self, slow):
        self.asked, self.name = slow, "redis-slow" if slow else "redis"

    def prepare(self, sources):
        self.tree = sources.tree("redis", "redis-server")
        if not shutil.which("tclsh"): raise Missing("tclsh is not installed")
        if not os.path.exists(self.tree + "/src/redis-benchmark"):
            run(["make", "-j2", "MALLOC=libc"], self.tree, self.tree + "/build.log")
        with open(self.tree + "/tests/test_helper.tcl") as file:
            listed = file.read().split("set ::all_tests {")[1].split("}")[0].split()
        self.units = [unit for unit in listed if unit.startswith("unit/") and (unit in self.SLOW) == self.asked]

    def command(self, folder):
        for name in ("src", "runtest", "redis.conf", "deps", "utils"):
            os.symlink(os.path.join(self.tree, name), folder + "/" + name)
        shutil.copytree(self.tree + "/tests", folder + "/tests")
        return ["./runtest", "--clients", "2"] + [word for unit in self.units for word in ("--single", unit)]

    def read(self, trial):
        # Two units run at a time, so that the order of the lines, and the times in them, say nothing.
        text = re.sub(r"\x1b\[[0-9;]*m", "", trial.text())
        lines = re.findall(r"(?m)^\[(ok|err|skip|ignore|exception|timeout)\]: (.*)$", text)
        return number(sorted((re.sub(r" \(\d+ ms\)$", "", name), result) for result, name in lines))

class Jq(Suite):
    """jq's own tests: the files of cases by jq --run-tests, which names every case, and the scripts."""
    name, every, pace, seconds, environment = "jq", 20000, 20, 300, {"NO_VALGRIND": "1"}
    SCRIPT = """
for t in tests/*.test; do echo "File $t"; ./jq -L tests/modules --run-tests $t; echo "Status $?"; done
for t in shtest utf8test; do echo "File $t"; sh tests/$t > /dev/null 2>&1; echo "Status $?"; done"""

    def prepare(self, sources):
        installed_version("jq")
        self.tree = sources.tree("jq", "jq")

    def command(self, folder):
        shutil.copytree(self.tree + "/tests", folder + "/tests")
        os.symlink("/usr/bin/jq", folder + "/jq")
        return ["sh", "-c", self.SCRIPT]

    def read(self, trial):
        file, case, cases = "", "", {}
        for line in trial.text().splitlines():
            words = line.split()
            if line.startswith("File "): file, case = words[1], "start"
            elif line.startswith("Testing "): case = words[-1]
            if line.startswith("Status "): cases[file + " status"] = words[1]
            else:
                name = "%s:%s" % (file, case)
                cases[name] = cases.get(name, "") + line.replace(trial.folder, "@") + "\n"
        return cases

class Gawk(Suite):
    """gawk's make check with the installed gawk and its installed extensions. A test that fails leaves its
    output behind, which must then be the same, too."""
    name, every, pace, seconds = "gawk", 2000, 2, 300

    def prepare(self, sources):
        self.tree = sources.tree("gawk", "gawk")
        if not os.path.exists(self.tree + "/test/Makefile"):
            run(["./configure", "-q"], self.tree, self.tree + "/build.log")

    def command(self, folder):
        shutil.copytree(self.tree, folder + "/gawk", symlinks=True)
        os.symlink("/usr/bin/gawk", folder + "/gawk/gawk")
        libraries = [f for f, _, names in os.walk("/usr/lib") if f.endswith("/gawk") and "filefuncs.so" in names]
        if libraries: os.symlink(libraries[0], folder + "/gawk/extension/.libs")
        # Debian's tree lacks its manual, so the generated files are taken as they are.
        return ["make", "-C", "gawk/test", "check", "AUTOMAKE=:", "ACLOCAL=:", "AUTOCONF=:", "AUTOHEADER=:"]

    def read(self, trial):
        folder = trial.folder + "/gawk/test"
        names = [line for line in trial.text().splitlines() if os.path.exists("%s/%s.ok" % (folder, line))]
        def result(name):
            try:
                with open("%s/_%s" % (folder, name), "rb") as file: output = file.read()
                return "output " + repr(output.replace(trial.folder.encode(), b"@"))
            except FileNotFoundError: return "ok"
        return number((name, result(name)) for name in names)

class Sqlite(Suite):
    """sqlite3's veryquick tests in a test fixture built from Debian's sources: every sixth of its files, all
    of them in RECLAIM_SUITES=all."""
    name, every, pace, seconds, long, SHARE = "sqlite3", 20000, 20, 1800, True, 6

    def prepare(self, sources):
        self.tree = sources.tree("sqlite3", "sqlite3")
        if not os.path.exists(self.tree + "/testfixture"):
            run(["./configure", "-q", "CFLAGS=-O1"], self.tree, self.tree + "/build.log")
            run(["make", "-j2", "testfixture", "sqlite3"], self.tree, self.tree + "/build.log")
        files = sorted(name for name in os.listdir(self.tree + "/test") if name.endswith(".test"))
        left_out = [] if ALL else [name for i, name in enumerate(files) if i % self.SHARE]
        if os.getuid() == 0: self.left_out = ("attach.test",) # refuses to run as root
        self.environment = {"QUICKTEST_OMIT": ",".join("^%s$" % name for name in left_out + list(self.left_out))}

    def command(self, folder):
        return [self.tree + "/testfixture", self.tree + "/test/veryquick.test"]

    def read(self, trial):
        return number(re.findall(r"(?m)^(\S+)\.\.\. ?(.*)$", trial.text()))

class Lua(Suite):
    """lpeg's test script in the installed lua5.4, with lpeg built for it: Debian's source package of lua5.4
    brings no tests. Each round of the script is one test."""
    name, every, pace, seconds, rounds = "lua-lpeg", 20000, 5, 120, 5

    def prepare(self, sources):
        lua, self.tree = sources.tree("lua5.4", "lua5.4"), sources.tree("lua-lpeg", None)
        if os.path.exists(self.tree + "/lpeg.so"): return
        with open(self.tree + "/lua5.4-deb-multiarch.h", "w") as file: # that luaconf.h asks for
            file.write('#define DEB_HOST_MULTIARCH "none"\n')
        run(["sh", "-c", "gcc -O2 -shared -fPIC -I. -I%s/src lp*.c -o lpeg.so" % lua], self.tree, self.tree + "/build.log")

    def command(self, folder):
        for name in ("lpeg.so", "re.lua", "test.lua"): os.symlink(os.path.join(self.tree, name), folder + "/" + name)
        script = "for i in $(seq %d); do lua5.4 test.lua 2>&1; echo \"Status $?\"; done" % self.rounds
        return ["sh", "-c", script]

    def read(self, trial):
        return number(("test.lua", text) for text in trial.text().split("Status ")[1:]) | {"output": trial.text()}

SUITES = [
    Python("test_list", every=100), Python("test_dict", every=100), Python("test_gc"), Python("test_json", 2000), Python("test_sqlite3"),
    Python("test_threading", pace=10), Python("test_subprocess"), Python("test_socket"),
    Python("test_signal", long=True), Python("test_asyncio", every=5000, seconds=900, long=True),
    Python("test_list", 20000, malloc=True), Python("test_dict", 10000, malloc=True),
    Python("test_gc", 10000, malloc=True),
    Python("test_json", 200000, malloc=True), Python("test_sqlite3", 20000, malloc=True),
    Python("test_threading", 50000, malloc=True),
    Python("test_asyncio", 200000, seconds=900, long=True, malloc=True),
    Redis(slow=False), Redis(slow=True), Lua(), Jq(), Gawk(), Sqlite(),
]
