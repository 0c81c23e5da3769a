# curl.sh: fetches from a server on the loopback address, one by one and many at once.
set -e
awk 'BEGIN { for (i = 0; i < 60000; i++) print "line", i, i * 7919 % 1009 }' > large.txt
i=0
while [ $i -lt 20 ]; do echo "small file $i" > small$i.txt; i=$((i + 1)); done
python3 -u -c '
import http.server, functools
class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
print(server.server_address[1])
server.serve_forever()' > port &
server=$!
n=0
until [ -s port ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.05; done
url=http://127.0.0.1:$(cat port)
curl -sS $url/large.txt | md5sum
curl -sS --limit-rate 6M $url/large.txt | md5sum
curl -sS --no-progress-meter --parallel --parallel-max 8 "$url/small[0-19].txt" -o 'got#1' "$url/large.txt" -o gotlarge
cat got0 got7 got19
cmp gotlarge large.txt
curl -sS -w '%{http_code} %{size_download}\n' -o /dev/null "$url/small[0-19].txt"
curl -sS -o /dev/null -w '%{http_code}\n' $url/missing
kill $server
wait $server || true
