# squid.sh: a proxy with a cache on disk, its threads for that, and nginx behind it.
set -e
. "${0%/*}/server.sh"
set -- $(free_ports 2)
export NGINX_PORT=$1 SQUID_PORT=$2
mkdir origin
chmod 777 origin
(cd origin && without sh "$inputs/serve.sh" nginx) &
await test -S origin/back.socket
start squid
must_collect $server
await curl -sS -x http://127.0.0.1:$SQUID_PORT http://127.0.0.1:$NGINX_PORT/say/hello
load_until squid 25 $SQUID_PORT $NGINX_PORT
load_ends
kill $server
ended
kill -QUIT "$(cat origin/nginx.pid)"
wait
