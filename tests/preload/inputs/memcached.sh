# memcached.sh: four connections set, get, append to, compare and swap, and delete; every answer is
# checked.
set -e
. "${0%/*}/server.sh"
start memcached
must_collect $server
await test -S memcached.socket
load_until memcached 120 memcached.socket
load_ends
kill $server
ended
