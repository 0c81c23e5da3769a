"""allocators.py: the mallocs that are compared, and how a program is run under each.

glibc is preloaded too, by its own name: it then serves even a program that is linked with another
malloc (Debian's redis-server with jemalloc). What is preloaded must be found in the program's
memory: a loader that only warns and goes on would have glibc measured under a peer's name."""
import os
import subprocess

# name here, file, Debian's package
PEERS = [
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("mimalloc", "libmimalloc.so.2", "libmimalloc2.0"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
]
BASE = "glibc"
OURS = "reclaim"
OURS_OFF = "collect=off"


class Allocator:
    def __init__(self, name, library, options=None):
        self.name = name
        self.library = library
        self.options = options

    def environment(self):
        settings = {"LD_PRELOAD": self.library, "RECLAIM": ""}
        if self.options:
            settings["RECLAIM"] = self.options
        return settings

    def is_loaded(self):
        """Whether a program run under it has its library in memory."""
        maps = subprocess.run(["cat", "/proc/self/maps"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False,
                              env={**os.environ, **self.environment()}).stdout
        return os.path.realpath(self.library) in maps

    def version(self):
        """What is known of the file: Debian's package, or the path."""
        for path in (self.library, os.path.realpath(self.library)):
            owner = subprocess.run(["dpkg-query", "-S", path], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True, check=False).stdout
            package = owner.split(": ")[0].split(",")[0]
            if package:
                return subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package],
                                      stdout=subprocess.PIPE, text=True, check=True).stdout
        return self.library + (f" with {self.options}" if self.options else "")


def loader_knows():
    """File name -> path of every library of this processor's that the loader finds by name."""
    known = {}
    for command in ("ldconfig", "/sbin/ldconfig"):
        try:
            listing = subprocess.run([command, "-p"], stdout=subprocess.PIPE, text=True,
                                     check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        for line in listing.splitlines():
            if " => " in line and "x86-64" in line:
                known.setdefault(line.split()[0], line.split(" => ")[1])
        break
    return known


def named(pairs, what):
    """The (NAME, VALUE) of options written NAME=VALUE."""
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not name or not separator or not value:
            raise SystemExit(f"bench: {what} is written NAME=VALUE, not \"{pair}\"")
        yield name, value


def choose(library, chosen=None, variants=(), libraries=()):
    """All that can be had, glibc first; and for each that is missing a line that says so."""
    known = loader_knows()
    if "libc.so.6" not in known:
        raise SystemExit("bench: the loader knows no libc.so.6")
    found = [Allocator(BASE, known["libc.so.6"]), Allocator(OURS, library),
             Allocator(OURS_OFF, library, "collect=off")]
    found += [Allocator(name, library, value) for name, value in named(variants, "--variant")]
    found += [Allocator(name, os.path.abspath(value))
              for name, value in named(libraries, "--library")]
    missing = []
    for name, file, package in PEERS:
        if file in known:
            found.append(Allocator(name, known[file]))
        else:
            missing.append(f"{name} is skipped: no {file} (package {package})")
    if chosen:
        for name in chosen:
            if name not in [a.name for a in found] + [peer[0] for peer in PEERS]:
                raise SystemExit(f"bench: there is no allocator \"{name}\"; there are "
                                 + ", ".join(a.name for a in found))
        extra = [name for name, _ in (*named(variants, ""), *named(libraries, ""))]
        found = [a for a in found if a.name in [BASE, *chosen, *extra]]
    for allocator in list(found):
        if not allocator.is_loaded():
            if allocator.name in [peer[0] for peer in PEERS]:
                missing.append(f"{allocator.name} is skipped: {allocator.library} does not load")
                found.remove(allocator)
            else:
                raise SystemExit(f"bench: {allocator.library} does not load")
    return found, missing
