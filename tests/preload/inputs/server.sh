# server.sh: sourced by the scripts that load a server.
inputs=${0%/*}

# await COMMAND...: until it succeeds, for ten seconds at most.
await() {
    n=0
    until "$@" > /dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 200 ] || { echo "in vain: $*"; cat server.log; exit 1; } >&2
        sleep 0.05
    done
}

# start SERVER [ARGUMENT...]: by serve.sh; its process is $server.
start() {
    sh "$inputs/serve.sh" "$@" &
    server=$!
}

# must_collect PROCESS...: the suite wants its number of cycles from each of these.
must_collect() { printf '%s\n' "$@" >> served; }

# without COMMAND...: not under the library: it is not what is tested.
without() { env -u LD_PRELOAD "$@"; }

load() { without python3 "$inputs/load.py" "$@"; }

# have_collected: each of those often enough, if they are under the library at all.
have_collected() {
    [ -n "$RECLAIM" ] || return 0
    for process in $(cat served); do
        [ "$(grep -c result=done "cycles.$process")" -ge 25 ] || return 1
    done
}

# load_until SERVER ROUNDS ADDRESS...: and on until its processes have collected; in the background.
load_until() {
    protocol=$1 rounds=$2
    shift 2
    load "$protocol" "$rounds+" "$@" &
    loading=$!
}

# load_ends: once they have, or after ten seconds without (the suite counts for itself).
load_ends() {
    (await have_collected) 2> /dev/null || true
    : > enough
    wait $loading
    rm enough
}

# ended: waits for the server and says how it ended.
ended() {
    status=0
    wait $server || status=$?
    echo "server ended with $status"
}

start_redis() {
    start redis "$@"
    must_collect $server
    await ask ping
}
ask() { redis-cli -s redis.socket "$@"; }

# free_ports NUMBER: of the loopback interface.
free_ports() {
    without python3 -c 'import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))' "$1"
}
