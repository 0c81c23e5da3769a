# load.py PROTOCOL HOW-MUCH ADDRESS...: loads a server with requests whose answers are known, over
# several connections at once, and checks every one. HOW-MUCH is a number of rounds ("40"), the same
# in each run, or a time in seconds ("60s"). "40+" goes on behind those rounds, uncounted, until there
# is a file "enough". Ends with one line; a wrong answer ends it with status 1.
#
#   redis SOCKET | memcached SOCKET | nginx SOCKET... (-tls.socket: by TLS) | squid PROXY-PORT ORIGIN-PORT
import os, random, re, socket, ssl, sys, threading, time, zlib

CONNECTIONS = 4
WORDS = "".join("word%d " % (i * 7919 % 10007) for i in range(4000))

def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError("%s: got %.200r, not %.200r" % (what, got, wanted))

def value_for(rng, most):
    start = rng.randrange(len(WORDS) - most)
    return WORDS[start:start + rng.randrange(1, most)].encode()

class Connection:
    def __init__(self, address, secure=False):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(60)
        self.socket.connect(address)
        if secure:
            context = ssl._create_unverified_context()
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.input = self.socket.makefile("rb")

    def send(self, data): self.socket.sendall(data)
    def line(self): return self.input.readline().rstrip(b"\r\n")
    def exactly(self, size): return self.input.read(size)
    def close(self):
        self.input.close()
        self.socket.close()

class Redis:
    """Strings, hashes, lists and sorted sets of one client's own keys, pipelined."""
    def __init__(self, number, rng, socket_name):
        self.rng, self.prefix, self.address = rng, "c%d:" % number, socket_name
        self.connection, self.model, self.list = Connection(socket_name), {}, []
        self.ask([("flush", "unlink", *[self.prefix + "k%d" % i for i in range(1500)])])
        self.ask([("flush", "unlink", self.prefix + "list", self.prefix + "sorted")])

    def answer(self):
        line = self.connection.line()
        kind, rest = line[:1], line[1:]
        if kind == b"$": return None if rest == b"-1" else self.connection.exactly(int(rest) + 2)[:-2]
        if kind == b"*": return [self.answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def ask(self, requests):
        parts = []
        for _, *words in requests:
            words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
            parts.append(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        self.connection.send(b"".join(parts))
        for wanted, *words in requests:
            got = self.answer()
            if wanted != "flush": expect(got, wanted, "redis %.80r" % words)

    def round(self):
        rng, requests = self.rng, []
        for _ in range(60):
            key = self.prefix + "k%d" % rng.randrange(1500)
            known, choice = self.model.get(key), rng.randrange(6)
            if choice < 2:
                self.model[key] = value_for(rng, 1200)
                requests.append((b"OK", "set", key, self.model[key]))
            elif choice == 2 and known is not None and len(known) < 3000:
                more = value_for(rng, 300)
                self.model[key] = known + more
                requests.append((len(self.model[key]), "append", key, more))
            elif choice == 3:
                requests.append((1 if self.model.pop(key, None) is not None else 0, "del", key))
            else:
                requests.append((known, "get", key))
        item = value_for(rng, 200)
        self.list.append(item)
        requests.append((len(self.list), "rpush", self.prefix + "list", item))
        if len(self.list) > 100:
            requests.append((self.list.pop(0), "lpop", self.prefix + "list"))
        requests.append(("flush", "zadd", self.prefix + "sorted", rng.randrange(1000), "m%d" % rng.randrange(200)))
        requests.append((b"%d" % 42, "eval", "local t = {} for i = 1, 50 do t[i] = {i, 'x' .. i} end return ARGV[1]", 0, 42))
        self.ask(requests)
        if rng.randrange(20) == 0: # clients come and go
            self.connection.close()
            self.connection = Connection(self.address)
        return len(requests)

class Memcached:
    """The text protocol: values of all sizes, appended to, counted in, compared and swapped."""
    def __init__(self, number, rng, socket_name):
        self.rng, self.prefix, self.address = rng, b"c%d:" % number, socket_name
        self.connection, self.model = Connection(socket_name), {}
        for i in range(1000):
            self.connection.send(b"delete %sk%d\r\n" % (self.prefix, i))
            self.connection.line()

    def simple(self, request, wanted):
        self.connection.send(request)
        expect(self.connection.line(), wanted, "memcached %.80r" % request)

    def get(self, keys, command=b"get"):
        self.connection.send(command + b" " + b" ".join(keys) + b"\r\n")
        found, unique = {}, None
        while (line := self.connection.line()) != b"END":
            _, key, _, size, *rest = line.split()
            found[key], unique = self.connection.exactly(int(size) + 2)[:-2], rest
        expect(found, {k: self.model[k] for k in keys if k in self.model}, "memcached get")
        return unique

    def round(self):
        rng, done = self.rng, 0
        for _ in range(30):
            key = self.prefix + b"k%d" % rng.randrange(1000)
            known, choice = self.model.get(key), rng.randrange(7)
            value = value_for(rng, 9000 if rng.randrange(20) == 0 else 900)
            if choice < 2:
                self.simple(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"STORED")
                self.model[key] = value
            elif choice == 2 and known is not None and len(known) < 20000:
                self.simple(b"append %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"STORED")
                self.model[key] = known + value
            elif choice == 3:
                self.simple(b"delete %s\r\n" % key, b"NOT_FOUND" if known is None else b"DELETED")
                self.model.pop(key, None)
            elif choice == 4 and known is not None:
                unique = self.get([key], b"gets")
                self.simple(b"cas %s 0 0 %d %s\r\n%s\r\n" % (key, len(value), unique[0], value), b"STORED")
                self.model[key] = value
            elif choice == 5:
                count = self.prefix + b"n%d" % rng.randrange(50)
                self.simple(b"set %s 0 0 2\r\n17\r\n" % count, b"STORED")
                self.simple(b"incr %s %d\r\n" % (count, 25), b"42")
            else:
                self.get([self.prefix + b"k%d" % rng.randrange(1000) for _ in range(rng.randrange(1, 40))])
            done += 1
        if rng.randrange(20) == 0:
            self.connection.close()
            self.connection = Connection(self.address)
        return done

LARGE = "".join("line %d %d\n" % (i, i * 7919 % 1009) for i in range(6000)).encode()

class Http:
    """Files, ranges, gzip, generated answers, errors; connections kept and dropped."""
    def __init__(self, number, rng, *addresses):
        self.rng, self.number, self.addresses = rng, number, addresses
        self.connection, self.base = None, b""

    def connect(self):
        address = self.addresses[self.number % len(self.addresses)]
        return Connection(address, address.endswith("-tls.socket"))

    def request(self, path, headers=b"", method=b"GET"):
        for attempt in (1, 2): # a server that reloads may close a kept connection: ask once more
            fresh = self.connection is None
            if fresh: self.connection = self.connect()
            try:
                self.connection.send(b"%s %s%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (method, self.base, path, headers))
                line = self.connection.line()
            except (ConnectionError, ssl.SSLError):
                line = b""
            if line: break
            self.connection.close()
            self.connection = None
            if fresh: raise AssertionError("%s closed without an answer" % path)
        status, fields = int(line.split()[1]), {}
        while field := self.connection.line():
            name, _, rest = field.partition(b":")
            fields[name.lower()] = rest.strip()
        body = b""
        if method != b"HEAD":
            if fields.get(b"transfer-encoding") == b"chunked":
                while size := int(self.connection.line(), 16):
                    body += self.connection.exactly(size + 2)[:-2]
                self.connection.line()
            else:
                body = self.connection.exactly(int(fields[b"content-length"]))
        if fields.get(b"content-encoding") == b"gzip": body = zlib.decompress(body, 31)
        if fields.get(b"connection", b"").lower() == b"close" or self.rng.randrange(30) == 0:
            self.connection.close()
            self.connection = None
        return status, fields, body

    def round(self):
        rng = self.rng
        n = rng.randrange(10)
        expect(self.request(b"/folder/small%d.txt" % n)[::2], (200, b"small file %d\n" % n), "small")
        for headers in (b"", b"Accept-Encoding: gzip\r\n"):
            expect(self.request(b"/large.txt", headers)[::2], (200, LARGE), "large")
        first = rng.randrange(60000)
        expect(self.request(b"/large.txt", b"Range: bytes=%d-%d\r\n" % (first, first + 999))[::2],
               (206, LARGE[first:first + 1000]), "range")
        expect(self.request(b"/large.txt", method=b"HEAD")[0], 200, "head")
        expect(self.request(b"/proxied/large.txt")[::2], (200, LARGE.replace(b"line", b"row")), "proxied")
        word = b"w%d" % rng.randrange(10 ** 9)
        expect(self.request(b"/say/hello?word=" + word, b"X-Long: %s\r\n" % value_for(rng, 2000))[::2],
               (200, b"said hello %s\n" % word), "said")
        expect(self.request(b"/missing%d" % n)[0], 404, "missing")
        expect(self.request(b"/folder/", b"Accept-Encoding: gzip\r\n")[2].count(b'"size":13'), 10, "index")
        return 9

class Proxied(Http):
    def __init__(self, number, rng, proxy, origin):
        super().__init__(number, rng, ("127.0.0.1", int(proxy)))
        self.base = b"http://127.0.0.1:%d" % int(origin)

    def connect(self):
        return Connection(self.addresses[0])

PROTOCOLS = {"redis": Redis, "memcached": Memcached, "nginx": Http, "squid": Proxied}

def work(kind, number, rounds, lasting, until, arguments, done, errors):
    try:
        client = kind(number, random.Random(number), *arguments)
        while rounds > 0 if until is None else time.monotonic() < until:
            done[number] += client.round()
            rounds -= 1
        while lasting and not os.path.exists("enough"): client.round()
    except BaseException as error:
        errors.append("%s: %s: %s" % (kind.__name__, type(error).__name__, error))

def main():
    protocol, much, *arguments = sys.argv[1:]
    number, kind = re.fullmatch(r"([0-9.]+)([s+]?)", much).groups()
    rounds, until = (0, time.monotonic() + float(number)) if kind == "s" else (int(number), None)
    done, errors = [0] * CONNECTIONS, []
    threads = [threading.Thread(target=work, args=(PROTOCOLS[protocol], i, rounds, kind == "+", until,
                                                   arguments, done, errors))
               for i in range(CONNECTIONS)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print("%s: %d requests answered rightly, %d errors" % (protocol, sum(done), len(errors)))
    sys.exit("\n".join(errors) if errors else 0)

main()
