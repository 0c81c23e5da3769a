# mosquitto.sh: two subscribers and two publishers at once, with each quality of service, and a
# retained message.
set -e
. "${0%/*}/server.sh"
publish() { mosquitto_pub --unix mosquitto.socket "$@"; }
subscribe() { mosquitto_sub --unix mosquitto.socket "$@"; }
start mosquitto
must_collect $server
await publish -t kept -r -m 'a retained message'
subscribe -q 2 -t 'load/#' -C 4000 > all &
all=$!
subscribe -q 1 -t 'load/+/b' -C 2000 > half &
half=$!
await grep -q 'load/#' server.log
await grep -q 'load/+/b' server.log
for quality in 1 2; do
    name=$(echo $quality | tr 12 ab)
    awk -v name=$name 'BEGIN { for (i = 1; i <= 2000; i++) print name, i, sprintf("%0*d", i % 300, i) }' |
        publish -q $quality -t load/x/$name -l &
done
wait $all $half
sort all | md5sum
sort half | md5sum
subscribe -t kept -C 1
kill $server
ended
