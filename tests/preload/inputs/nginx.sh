# nginx.sh: a master and two workers that dropped root, loaded through kept connections, TLS and gzip,
# as a proxy of itself, reloaded in between and ended in good order.
set -e
. "${0%/*}/server.sh"
workers() { cat /proc/$server/task/$server/children; }
have_other_workers() { set -- "$(workers)" $1; [ "$1" != "$old" ] && [ "$(echo $1 | wc -w)" = 2 ]; }
answered() { [ "$(wc -l < access.log)" -gt $1 ]; }
start nginx
old=
await have_other_workers
await test -S back.socket
must_collect $(workers)
load_until nginx 12 nginx.socket nginx-tls.socket
await answered 150
await have_collected
old=$(workers)
kill -HUP $server
load_ends
await have_other_workers
must_collect $(workers)
load_until nginx 12 nginx.socket nginx-tls.socket
load_ends
curl -sSk --no-progress-meter --compressed --parallel --parallel-max 8 --unix-socket nginx.socket \
    'http://localhost/folder/small[0-9].txt' -o 'got#1' http://localhost/large.txt -o large
cat got0 got7
cmp large site/large.txt
kill -QUIT $server
ended
grep -E '\[(alert|crit|emerg)\]' server.log || true
