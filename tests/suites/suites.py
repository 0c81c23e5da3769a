# suites.py [SUITE...]: test suites that others wrote for their programs (python3's, redis's, jq's,
# gawk's, sqlite3's) have the same results under the library as under plain malloc, test by test.
# Speaks TAP, and ends with a table of what was seen. make check-suites runs it.
#
# Each suite runs under plain malloc, then reclaiming with a collection every few milliseconds, then
# under the condemn oracle with one every so many allocations; short suites, and with RECLAIM_SUITES=all
# the long ones too, both again with kernel=baseline. A run is good when
#   - every test has the result that it has under plain malloc. Where one differs, the plain run is
#     repeated, twice; a test with differing results there is left out, and named;
#   - at least 20 cycles went through sweep, in the whole tree of processes, and below 5 % were skipped;
#   - the oracle is silent;
#   - it ended in time.
# Sources come from Debian (sources.py) and are built in the folder suites of the build directory. A suite
# that lacks something is skipped, in one line.
import os, shutil, signal, sys
from catalog import ALL, SUITES
from sources import Missing, Sources
from trial import Trial

LEAST_CYCLES, MOST_SKIPPED = 20, 5.0
MODES = (("reclaim", "collect-every-ms={pace}"), ("condemn", "check=condemn,collect-every={every}"),
         ("reclaim baseline", "collect-every-ms={pace},kernel=baseline,mark-order=pages"),
         ("condemn baseline", "check=condemn,collect-every={every},kernel=baseline,mark-order=pages"))
TABLE = [("suite", "mode", "tests", "differ", "cycles", "skipped", "why", "longest ms", "false", "s", "s plain")]

class Tap:
    def __init__(self): self.count = self.failed = 0
    def ok(self, good, text, details=()):
        self.count += 1
        self.failed += not good
        print("%s %d - %s" % ("ok" if good else "not ok", self.count, text.replace("#", "")), flush=True)
        for line in details: print("# " + line, flush=True)
    def skip(self, text):
        self.count += 1
        print("ok %d - # SKIP %s" % (self.count, text.replace("\n", " ")), flush=True)

class Runs:
    """The runs of one suite, each in a folder of its own."""
    def __init__(self, suite, folder):
        self.suite, self.folder, self.plain, self.count = suite, folder, [], 0

    def run(self, options):
        folder = os.path.join(self.folder, "%s.%d" % (self.suite.name.replace("/", "-"), self.count))
        self.count += 1
        shutil.rmtree(folder, ignore_errors=True)
        trial = Trial(self.suite.command, folder, options, self.suite.seconds, self.suite.environment)
        trial.cases = self.suite.read(trial)
        return trial

    def one_more_plain(self): self.plain.append(self.run(None))

    def fickle(self):
        """The tests whose result differs from one plain run to the next."""
        names = set().union(*(run.cases for run in self.plain))
        return {name for name in names if len({run.cases.get(name) for run in self.plain}) > 1}

    def differing(self, trial):
        expected = self.plain[0].cases
        return {name for name in set(expected) | set(trial.cases) if expected.get(name) != trial.cases.get(name)}

def judge(tap, runs, mode, options):
    suite, plain, details = runs.suite, runs.plain[0], []
    trial = runs.run(options)
    differing = runs.differing(trial)
    if differing:
        while len(runs.plain) < 3: runs.one_more_plain()
        fickle = runs.fickle()
        details += ["left out, not the same from one plain run to the next: " + name for name in sorted(differing & fickle)]
        differing -= fickle
    details += ["%s: %s plain, %s here" % (name, str(plain.cases.get(name))[:200], str(trial.cases.get(name))[:200])
                for name in sorted(differing)[:40]]
    log, title = trial.log, "%s %s: " % (suite.name, mode)
    share = 100.0 * log.skipped / max(1, log.done + log.skipped)
    TABLE.append((suite.name, mode, len(trial.cases), len(differing), log.done, log.skipped,
                  " ".join("%s:%d" % reason for reason in log.reasons.items()) or "-", "%.1f" % log.longest, log.false,
                  "%.0f" % trial.seconds, "%.0f" % plain.seconds))
    verdicts = ((trial.status is not None, "ended in %.0f s" % trial.seconds),
                (not differing, "%d tests, %d with another result" % (len(trial.cases), len(differing))),
                (log.false == 0, "%d false reclaims %s" % (log.false, log.first_false)),
                (log.done >= LEAST_CYCLES, "%d cycles" % log.done),
                (share < MOST_SKIPPED, "%d skipped" % log.skipped))
    good = all(verdict for verdict, _ in verdicts)
    tap.ok(good, title + ", ".join(text for _, text in verdicts), details + ([] if good else ["files in " + trial.folder]))
    if good and not os.environ.get("RECLAIM_TEST_KEEP"): shutil.rmtree(trial.folder)
    return good

def try_suite(tap, suite, folder, sources):
    try: suite.prepare(sources)
    except Missing as missing: return tap.skip("%s: %s" % (suite.name, missing))
    runs = Runs(suite, folder)
    runs.one_more_plain()
    plain = runs.plain[0]
    for name in suite.left_out: print("# %s: %s is left out, see catalog.py" % (suite.name, name))
    if plain.status is None or not plain.cases:
        text = "%s: does not work under plain malloc: status %s, %d tests" % (suite.name, plain.status, len(plain.cases))
        return tap.ok(False, text, ["files in " + plain.folder])
    modes = MODES if not suite.long or ALL else MODES[:2]
    good = [judge(tap, runs, mode, options.format(every=suite.every, pace=suite.pace)) for mode, options in modes]
    if all(good) and not os.environ.get("RECLAIM_TEST_KEEP"):
        for run in runs.plain: shutil.rmtree(run.folder)

def main():
    for ending in (signal.SIGTERM, signal.SIGHUP): signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    folder = os.path.abspath(os.environ.get("RECLAIM_SUITES_FOLDER") or "suites")
    os.makedirs(folder, exist_ok=True)
    unknown = set(sys.argv[1:]) - {suite.name for suite in SUITES}
    if unknown:
        names = " ".join(suite.name for suite in SUITES)
        sys.exit("suites.py: there is no suite %s; there are %s" % (" ".join(unknown), names))
    tap, sources = Tap(), Sources(folder)
    for suite in SUITES:
        if suite.name in sys.argv[1:] or (not sys.argv[1:] and (ALL or not suite.asked)): try_suite(tap, suite, folder, sources)
    print("1..%d" % tap.count)
    widths = [max(len(str(row[i])) for row in TABLE) for i in range(len(TABLE[0]))]
    for row in TABLE if len(TABLE) > 1 else []:
        print("# " + "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
    sys.exit(1 if tap.failed else 0)

main()
