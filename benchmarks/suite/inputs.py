"""inputs.py: what the real programs read: made here, from fixed seeds, once for each size."""
import os
import random
import shutil
import subprocess

HEADERS = """arpa/inet.h assert.h complex.h ctype.h dirent.h dlfcn.h elf.h errno.h fcntl.h fenv.h
fnmatch.h ftw.h glob.h grp.h iconv.h ifaddrs.h inttypes.h langinfo.h limits.h link.h
locale.h malloc.h math.h mqueue.h net/if.h netdb.h netinet/in.h netinet/tcp.h
nl_types.h poll.h pthread.h pwd.h regex.h sched.h search.h semaphore.h setjmp.h
signal.h spawn.h stdarg.h stdatomic.h stdio.h stdlib.h string.h strings.h
sys/epoll.h sys/ioctl.h sys/ipc.h sys/mman.h sys/mount.h sys/msg.h sys/prctl.h
sys/ptrace.h sys/resource.h sys/select.h sys/sem.h sys/shm.h sys/socket.h sys/stat.h
sys/time.h sys/types.h sys/uio.h sys/un.h sys/wait.h syslog.h termios.h tgmath.h
threads.h time.h ucontext.h unistd.h utime.h wchar.h wctype.h wordexp.h linux/bpf.h
linux/ethtool.h linux/fs.h linux/input.h linux/kvm.h linux/nl80211.h
linux/perf_event.h linux/pkt_cls.h linux/videodev2.h"""

# A function of the generated C file: @ is its number.
FUNCTION = """
struct record@ { int key, count; double weight[%d]; struct record@ *next; const char *name; };
static int compare@(const void *a, const void *b) {
  const struct record@ *x = a, *y = b;
  return x->key != y->key ? (x->key < y->key ? -1 : 1) : strcmp(x->name, y->name);
}
static double walk@(struct record@ *list, int depth) {
  double sum = @;
  for (struct record@ *r = list; r != NULL; r = r->next) {
    switch ((r->key + depth) %% 7) {
    case 0: sum += r->weight[0] * r->count; break;
    case 1: sum -= r->weight[depth %% %d]; break;
    case 2: if (depth > 0) sum += walk@(r->next, depth - 1); break;
    case 3: for (int i = 0; i < r->count; i++) sum += r->weight[i %% %d] / (i + 1.0); break;
    case 4: sum += (double)strlen(r->name); break;
    default: sum *= 1.0 + r->key * 1e-9;
    }
  }
  return sum;
}
int enter@(struct record@ *table, size_t count, char *text, size_t room) {
  qsort(table, count, sizeof *table, compare@);
  for (size_t i = 0; i + 1 < count; i++) table[i].next = &table[i + 1];
  double sum = count > 0 ? walk@(table, (int)count & 15) : 0;
  int length = snprintf(text, room, "%%d of %%zu: %%g", @, count, sum);
  for (int i = 0; i < length; i++) if (isdigit((unsigned char)text[i])) text[i] ^= 1;
  return length;
}
"""


class Inputs:
    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.git_environment = {
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "author", "GIT_AUTHOR_EMAIL": "author@example.org",
            "GIT_COMMITTER_NAME": "author", "GIT_COMMITTER_EMAIL": "author@example.org",
            "GIT_DIR": "."}

    def made(self, name, make):
        """The path of that file, which make(path) writes when it is not there yet."""
        path = os.path.join(self.directory, name)
        if not os.path.exists(path):
            partial = path + ".partial"
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            os.rename(partial, path)
        return path

    def words(self, percent):
        """Lines of words, few of them common and many rare, with a number here and there."""
        def make(path):
            rng = random.Random(1)
            letters = "etaoinshrdlucmfwypvbgkjqxz"
            known = ["".join(rng.choice(letters[:6 + i % 20]) for _ in range(2 + i % 9))
                     for i in range(30000)]
            with open(path, "w", encoding="ascii") as out:
                for number in range(percent * 250):
                    line = [known[int(len(known) ** rng.random()) - 1]
                            for _ in range(rng.randrange(4, 16))]
                    out.write(f"{number} {' '.join(line)} {rng.randrange(100000)}\n")
        return self.made(f"words-{percent}.txt", make)

    def c_source(self, percent):
        """Many of the system's headers and functions that use them, preprocessed."""
        def make(path):
            source = path + ".c"
            with open(source, "w", encoding="ascii") as out:
                out.write("#define _GNU_SOURCE 1\n")
                for header in HEADERS.split():
                    out.write(f"#if __has_include(<{header}>)\n#include <{header}>\n#endif\n")
                for i in range(max(1, percent * 22 // 100)):
                    size = i % 5 + 1
                    out.write((FUNCTION % (size, size, size)).replace("@", str(i)))
            subprocess.run(["gcc", "-E", source, "-o", path], check=True)
            os.remove(source)
        return self.made(f"headers-{percent}.i", make)

    def repository(self, percent):
        """A bare repository: files that change a little with each commit."""
        def make(path):
            rng = random.Random(2)
            files = [[f"line {rng.randrange(10000)} of file {i}, word{rng.randrange(500)}"
                      for _ in range(rng.randrange(20, 200))] for i in range(100)]
            history = []
            for number in range(max(2, percent * 12)):
                history.append("commit refs/heads/main\n"
                               "committer author <author@example.org> "
                               f"{1000000000 + number} +0000\ndata 7\nchange\n\n")
                changed = range(100) if number == 0 else rng.sample(range(100), 3)
                for i in changed:
                    line = f"new {rng.randrange(10 ** 6)} {number}"
                    files[i][rng.randrange(len(files[i]))] = line
                    body = "\n".join(files[i]) + "\n"
                    history.append(f"M 100644 inline folder{i % 7}/file{i}\n"
                                   f"data {len(body)}\n{body}\n")
            environment = {**os.environ, **self.git_environment}
            environment.pop("GIT_DIR")
            subprocess.run(["git", "init", "-q", "--bare", path], check=True, env=environment)
            subprocess.run(["git", "-C", path, "fast-import", "--quiet"], check=True,
                           env=environment, input="".join(history).encode())
        return self.made(f"repository-{percent}", make)
