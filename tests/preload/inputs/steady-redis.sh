# steady-redis.sh: a server that holds 60 MB; its values are overwritten by clients that come and go.
set -e
. "${0%/*}/server.sh"
start_redis --appendonly no --activerehashing no
ask eval 'local base = string.rep("x", 1200) for i = 1, 60000 do redis.call("set", "key:" .. i, base:sub(1, 900 + i % 200)) end' 0 > /dev/null
round=1
while [ $round -le 12 ]; do
    ask eval 'local r, base = tonumber(ARGV[1]), string.rep("y", 1200) for i = 1, 60000 do redis.call("set", "key:" .. i, base:sub(1, 700 + (i * r) % 500)) end' 0 $round > /dev/null
    redis-benchmark -s redis.socket -n 3000 -c 30 -d 500 -r 1000 -q -t set,lpush,lpop > /dev/null
    round=$((round + 1))
done
ask dbsize
ask strlen key:777
ask shutdown nosave 2> /dev/null || true
wait $server
