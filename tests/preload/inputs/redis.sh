# redis.sh: a server on a socket in the working directory, loaded by its benchmark and by a script,
# snapshots in the background, scripts, expiry, then a digest of all that it holds.
set -e
. "${0%/*}/server.sh"
start_redis --appendonly yes --io-threads 2 --enable-debug-command yes
redis-benchmark -s redis.socket -n 4000 -c 20 -P 8 -d 200 -r 2000 -q \
    -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100 > benchmark.log
ask flushall > /dev/null
i=0
while [ $i -lt 3000 ]; do
    echo "set key:$i value-$i-$((i * 7919))"
    echo "hset hash:$((i % 50)) field$i $i"
    echo "zadd sorted:$((i % 20)) $i member$i"
    echo "rpush list:$((i % 10)) element$i"
    i=$((i + 1))
done | ask > /dev/null
ask bgsave > /dev/null
ask eval 'for i = 1, 3000 do redis.call("append", "key:" .. i % 500, string.rep("x", i % 100)) end return redis.call("dbsize")' 0
ask bgrewriteaof > /dev/null
n=0
while ask info persistence | grep -Eq '(rdb_bgsave|aof_rewrite)_in_progress:1|aof_rewrite_scheduled:1'; do
    n=$((n + 1)); [ $n -lt 200 ] || exit 1
    sleep 0.05
done
ask info persistence | grep -E '^(rdb_last_bgsave_status|aof_last_bgrewrite_status)' | tr -d '\r'
ask debug digest
ask debug reload
ask debug digest
ask lrange list:3 0 5
ask hlen hash:7
ask shutdown nosave 2> /dev/null || true
ended
