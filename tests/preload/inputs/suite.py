# suite.py MODULE...: runs these of python's own test modules by its own runner and prints the result
# of every test, sorted, a line each: what must be the same with every allocator.
import subprocess, sys, tempfile, xml.etree.ElementTree as tree

with tempfile.TemporaryDirectory() as folder:
    report = folder + "/report.xml"
    run = subprocess.run([sys.executable, "-m", "test", "--junit-xml", report, "--timeout", "240", *sys.argv[1:]],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
    try:
        cases = tree.parse(report).iter("testcase")
    except (OSError, tree.ParseError) as error:
        sys.exit("%s\n%s" % (run.stdout, error))
    lines = []
    for case in cases:
        result = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        lines.append("%s %s" % (case.get("name"), result[0] if result else case.get("result") or "run"))
        for child in case:
            if child.tag in ("failure", "error"):
                print(case.get("name"), child.text or child.get("message"), file=sys.stderr)
    print("\n".join(sorted(lines)))
