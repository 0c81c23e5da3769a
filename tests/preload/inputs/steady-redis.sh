# steady-redis.sh: a server that holds 60 MB; its values are overwritten by clients that come and go.
set -e
redis-server --port 0 --unixsocket "$PWD/socket" --save "" --appendonly no --daemonize no \
    --activerehashing no --logfile server.log &
server=$!
trap 'kill $server 2> /dev/null' EXIT
ask() { redis-cli -s "$PWD/socket" "$@"; }
n=0
until ask ping > /dev/null 2>&1; do
    n=$((n + 1)); [ $n -lt 100 ] || { cat server.log >&2; exit 1; }
    sleep 0.05
done
ask eval 'local base = string.rep("x", 1200) for i = 1, 60000 do redis.call("set", "key:" .. i, base:sub(1, 900 + i % 200)) end' 0 > /dev/null
round=1
while [ $round -le 12 ]; do
    ask eval 'local r, base = tonumber(ARGV[1]), string.rep("y", 1200) for i = 1, 60000 do redis.call("set", "key:" .. i, base:sub(1, 700 + (i * r) % 500)) end' 0 $round > /dev/null
    redis-benchmark -s "$PWD/socket" -n 3000 -c 30 -d 500 -r 1000 -q -t set,lpush,lpop > /dev/null
    round=$((round + 1))
done
ask dbsize
ask strlen key:777
ask shutdown nosave 2> /dev/null || true
wait $server
trap - EXIT
