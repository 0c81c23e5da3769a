"""real.py: real programs as workloads: how each is called. Their scripts stand in benchmarks/real,
what they read is made by inputs.py."""
import os
import shutil
import subprocess

from workload import Workload

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "real")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def find(program):
    """The system's program: not one that a user put before it."""
    return shutil.which(program, path=SYSTEM_PATH)


class Real(Workload):
    def __init__(self, name, program, package, arguments, inputs=None, make=None, time="cpu",
                 environment=None):
        """arguments(percent) are those of the program; make(percent) makes what it reads."""
        super().__init__(name, "real", 2 if time == "wall" else 1, time, environment)
        self.program, self.package, self.arguments = program, package, arguments
        self.inputs, self.make = inputs, make

    def is_here(self, missing):
        self.program = find(self.program) or self.program
        if os.path.isabs(self.program):
            return True
        missing.append(f"{self.name} is skipped: no {self.program} (package {self.package})")
        return False

    def command(self, percent):
        return [self.program, *self.arguments(percent)]

    def prepare(self, percent):
        if self.make:
            self.make(percent)


def script(name):
    return os.path.join(SCRIPTS, name)


def compiler_proper():
    """gcc's cc1: the driver around it would only blur the figures."""
    try:
        path = subprocess.run(["gcc", "-print-prog-name=cc1"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "cc1"
    return path


def programs(inputs):
    with open(script("tables.sql"), encoding="ascii") as file:
        sql = " " + file.read()  # what begins with a dash is taken for an option
    return [
        Real("lua", "lua5.4", "lua5.4", lambda n: [script("objects.lua"), str(n)]),
        Real("python", "python3.11" if find("python3.11") else "python3", "python3",
             lambda n: ["-S", "-B", script("objects.py"), str(n)],
             environment={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        Real("perl", "perl", "perl", lambda n: [script("words.pl"), inputs.words(n)],
             make=inputs.words, environment={"PERL_HASH_SEED": "0"}),
        Real("sqlite3", "sqlite3", "sqlite3",
             lambda n: [":memory:", sql.replace("ROWS", str(n * 1500))]),
        Real("gawk", "gawk", "gawk", lambda n: ["-f", script("words.awk"), inputs.words(n)],
             make=inputs.words, environment={"LC_ALL": "C"}),
        Real("jq", "jq", "jq",
             lambda n: ["-n", "-R", "-r", "-f", script("words.jq"), inputs.words(max(1, n // 3))],
             make=lambda n: inputs.words(max(1, n // 3)), environment={"LC_ALL": "C"}),
        Real("cc1", compiler_proper(), "gcc",
             lambda n: ["-quiet", "-O2", inputs.c_source(n), "-o", "/dev/null"],
             make=inputs.c_source),
        Real("git", "git", "git",
             lambda n: ["-C", inputs.repository(n), "repack", "-a", "-d", "-f", "-q",
                        "--threads=2"],
             make=inputs.repository, time="wall", environment=inputs.git_environment),
        Real("xz", "xz", "xz-utils", lambda n: ["-6", "-T1", "-c", inputs.words(max(1, n // 2))],
             make=lambda n: inputs.words(max(1, n // 2))),
    ]
