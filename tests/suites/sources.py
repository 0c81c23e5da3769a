# sources.py: Debian's source packages, by apt-get, without touching the system's configuration.
#
# The sources are asked for where the system gets its packages: each list of /etc/apt is copied with
# its type turned into deb-src, into a folder of our own, and apt-get works with lists and caches of
# our own too. Nothing is installed, and nothing of the sources ever becomes part of this tree.
import glob, os, re, shutil, subprocess

class Missing(Exception):
    """Something that a suite needs is not here: the suite is skipped, with this text."""

def run(command, folder, log):
    """For steps of preparation: their output goes to a file, a failure raises Missing."""
    with open(log, "a") as output:
        output.write("\n$ %s\n" % " ".join(command))
        output.flush()
        try:
            status = subprocess.call(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        except FileNotFoundError: raise Missing("%s is not installed" % command[0])
    if status != 0: raise Missing("%s failed, see %s" % (" ".join(command[:2]), log))

def installed_version(package):
    """The version of the source that an installed package was built from."""
    try:
        found = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${source:Version}", package],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split("|")
    except FileNotFoundError: raise Missing("dpkg-query is not installed: not a Debian system")
    if found[0].strip() != "ii": raise Missing("package %s is not installed" % package)
    return found[1]

def upstream(version): return version.split(":")[-1].rsplit("-", 1)[0]

def source_lists(target):
    """The system's lists with their types turned into deb-src, in the folder target."""
    count = 0
    for path in ["/etc/apt/sources.list"] + glob.glob("/etc/apt/sources.list.d/*"):
        if not os.path.isfile(path) or not path.endswith((".list", ".sources")): continue
        with open(path) as file: text = file.read()
        if path.endswith(".sources"): # paragraphs with a field Types
            text = re.sub(r"(?mi)^Types:.*$", "Types: deb-src", text)
        else: # one line each
            lines = [line.strip() for line in text.splitlines()]
            lines = [line for line in lines if re.match(r"deb(-src)?\s", line)]
            text = "".join(re.sub(r"^deb\s", "deb-src ", line) + "\n" for line in lines)
        with open(os.path.join(target, os.path.basename(path)), "w") as file: file.write(text)
        count += bool(text.strip())
    if count == 0: raise Missing("apt has no lists")

class Sources:
    """Source trees in folder; an archive that is there already is not fetched again."""
    def __init__(self, folder):
        self.folder, self.log, self.listed = folder, os.path.join(folder, "apt.log"), False
        self.options = ["-q", "-o", "Dir::Etc::sourcelist=/dev/null"]
        for option in ("Dir::Etc::sourceparts=%s/apt/parts", "Dir::State::Lists=%s/apt/lists", "Dir::Cache=%s/apt/cache"):
            self.options += ["-o", option % folder]

    def list(self):
        if self.listed: return
        for name in ("apt/parts", "apt/lists/partial", "apt/cache/archives/partial"):
            os.makedirs(os.path.join(self.folder, name), exist_ok=True)
        source_lists(os.path.join(self.folder, "apt/parts"))
        run(["apt-get"] + self.options + ["update"], self.folder, self.log)
        self.listed = True

    def versions(self, package):
        """Those of the same upstream version as the installed package, the installed one first; any
        where no package of it need be installed."""
        wanted = installed_version(package[1]) if package[1] else None
        text = subprocess.run(["apt-cache"] + self.options + ["showsrc", "--only-source", package[0]],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        found = [v for v in re.findall(r"(?m)^Version: (\S+)$", text) if wanted is None or upstream(v) == upstream(wanted)]
        return sorted(set(found), key=lambda v: (v == wanted, v), reverse=True)

    def tree(self, source, binary):
        """An unpacked, patched tree of the source package, of the upstream version of the installed binary
        package; where the archive has lost the newest revision, of an earlier one."""
        tree = os.path.join(self.folder, source)
        if os.path.exists(os.path.join(tree, ".complete")): return tree
        self.list()
        archive, fetched = os.path.join(self.folder, source + ".archive"), None
        for version in self.versions((source, binary)):
            shutil.rmtree(archive, ignore_errors=True)
            os.makedirs(archive)
            try:
                get = ["source", "--download-only", "%s=%s" % (source, version)]
                run(["apt-get"] + self.options + get, archive, self.log)
                fetched = glob.glob(archive + "/*.dsc")[0]
                break
            except (Missing, IndexError): pass
        if fetched is None:
            raise Missing("apt-get source %s of the installed version failed, see %s" % (source, self.log))
        shutil.rmtree(tree, ignore_errors=True)
        run(["dpkg-source", "--no-check", "-x", fetched, tree], self.folder, self.log)
        open(os.path.join(tree, ".complete"), "w").close()
        return tree
