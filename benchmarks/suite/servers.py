"""servers.py: real servers as workloads: how each is started and what load it gets.

What counts is the processor time of the server, from its start to its end, for a fixed number of
requests; the load runs beside it, under no allocator of ours. Servers listen on a socket in the
folder of the run."""
import getpass
import hashlib
import os
import shutil
import socket
import subprocess
import threading

from real import Real, find

CONNECTIONS = 4


class Server(Real):
    def __init__(self, name, program, package, arguments, load, inputs):
        super().__init__(name, program, package, None, inputs)
        self.server_arguments, self.requests = arguments, load

    def server(self, folder):
        return [self.program, *self.server_arguments(folder)]

    def load(self, folder, percent):
        """Returns a digest of the answers."""
        return self.requests(os.path.join(folder, "socket"), percent)


def exchange(address, payloads):
    """Sends each payload on a connection of its own, all at once; the answers, to their end."""
    answers = [b""] * len(payloads)

    def talk(i):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(address)
            sender = threading.Thread(target=connection.sendall, args=(payloads[i],))
            sender.start()
            parts = []
            while part := connection.recv(1 << 18):
                parts.append(part)
            sender.join()
            answers[i] = b"".join(parts)

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(len(payloads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(answers):
        raise OSError("a connection got no answer")
    return answers


def redis_arguments(folder):
    return ["--port", "0", "--unixsocket", os.path.join(folder, "socket"), "--save", "",
            "--appendonly", "no", "--dir", folder, "--loglevel", "warning"]


def load_redis(address, percent):
    """Strings, lists and hashes by redis-benchmark. Its keys are drawn from a seed of its own."""
    subprocess.run([find("redis-benchmark") or "redis-benchmark", "-s", address, "-q", "-n",
                    str(percent * 1500), "-r", "50000", "-d", "100", "-P", "8", "-c",
                    "20", "-t", "set,get,lpush,lpop,hset"], check=True, stdout=subprocess.DEVNULL)
    return ""


def memcached_arguments(folder):
    return ["-s", os.path.join(folder, "socket"), "-u", getpass.getuser(), "-t", "2", "-m", "256"]


def load_memcached(address, percent):
    payloads = []
    for connection in range(CONNECTIONS):
        requests = []
        for i in range(percent * 500):
            key = b"key:%d:%d" % (connection, i * 7919 % 20000)
            size = i * 31 % 700
            requests.append(b"set %s 0 0 %d\r\n%s\r\nget %s\r\n" % (key, size, b"v" * size, key))
        requests.append(b"quit\r\n")
        payloads.append(b"".join(requests))
    return hashlib.sha256(b"".join(exchange(address, payloads))).hexdigest()[:16]


NGINX = """daemon off; master_process off; worker_processes 1; pid %(folder)s/pid;
error_log %(folder)s/error.log crit;
events { worker_connections 64; }
http {
  access_log off; keepalive_requests 100000000; default_type text/plain; gzip on; gzip_comp_level 1;
  gzip_types text/plain;
  client_body_temp_path %(folder)s/a; proxy_temp_path %(folder)s/b; fastcgi_temp_path %(folder)s/c;
  uwsgi_temp_path %(folder)s/d; scgi_temp_path %(folder)s/e;
  server {
    listen unix:%(folder)s/socket; root %(folder)s/site;
    rewrite ^/old/(.*)$ /$1;
    location / { add_header X-Seen $request_uri; }
  }
}
"""


def nginx_arguments(folder):
    os.makedirs(os.path.join(folder, "site"))
    for name, size in (("small", 300), ("page", 6000), ("large", 60000)):
        with open(os.path.join(folder, "site", name), "w", encoding="ascii") as file:
            file.write(("a line of a page that is served, " * (size // 33 + 1))[:size])
    with open(os.path.join(folder, "configuration"), "w", encoding="ascii") as file:
        file.write(NGINX % {"folder": folder})
    if os.geteuid() == 0:
        for path in (folder, os.path.join(folder, "site")):
            shutil.chown(path, "root")
    return ["-c", os.path.join(folder, "configuration"), "-p", folder, "-e",
            os.path.join(folder, "error.log")]


def load_nginx(address, percent):
    paths = [b"/small", b"/page", b"/old/small?from=%d", b"/missing-%d", b"/small", b"/large"]
    payloads = []
    for connection in range(CONNECTIONS):
        requests = []
        for i in range(percent * 250):
            path = paths[i % len(paths)]
            path = path % i if b"%d" in path else path
            encoding = b"Accept-Encoding: gzip\r\n" if i % 12 == 1 else b""
            requests.append(b"GET %s HTTP/1.1\r\nHost: localhost\r\n%sCookie: session=%d\r\n\r\n"
                            % (path, encoding, i * 7919 + connection))
        requests.append(b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        payloads.append(b"".join(requests))
    answers = exchange(address, payloads)
    return " ".join(f"{a.count(b'HTTP/1.1 200')}/{a.count(b'HTTP/1.1 404')}" for a in answers)


def servers(inputs):
    return [
        Server("redis", "redis-server", "redis-server", redis_arguments, load_redis, inputs),
        Server("memcached", "memcached", "memcached", memcached_arguments, load_memcached, inputs),
        Server("nginx", "nginx", "nginx-light", nginx_arguments, load_nginx, inputs),
    ]
