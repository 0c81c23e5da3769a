# serve.sh SERVER [ARGUMENT...]: becomes that server, in the foreground, with everything it needs in
# the working directory and its socket there too. Servers that can drop root do so.
set -e
name=$1
shift
root=
[ "$(id -u)" != 0 ] || root=yes

# A self-signed certificate; the library stays out of the tool that makes it.
make_certificate() {
    env -u LD_PRELOAD openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch \
        -subj /CN=localhost -days 2 -keyout key.pem -out certificate.pem 2> /dev/null
}

make_site() {
    mkdir -p site/folder
    awk 'BEGIN { for (i = 0; i < 6000; i++) print "line", i, i * 7919 % 1009 }' > site/large.txt
    for i in 0 1 2 3 4 5 6 7 8 9; do echo "small file $i" > site/folder/small$i.txt; done
    chmod -R a+rX site
}

case $name in
redis)
    exec redis-server --port 0 --unixsocket "$PWD/redis.socket" --save "" --dir "$PWD" \
        --daemonize no --logfile server.log "$@" ;;
memcached) # dropping root makes it undumpable
    exec memcached -s "$PWD/memcached.socket" -a 0777 -t 4 -m 64 -U 0 ${root:+-u nobody} "$@" \
        2> server.log ;;
nginx) # two workers behind a front of their own: files, gzip, TLS, and itself as a proxy
    make_site
    make_certificate
    cat > nginx.conf << END
${root:+user nobody nogroup;}
daemon off;
worker_processes 2;
pid nginx.pid;
error_log server.log warn;
events { worker_connections 256; }
http {
    access_log access.log;
    default_type text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 200;
    gzip on;
    gzip_types text/plain;
    gzip_min_length 100;
    upstream back { server unix:$PWD/back.socket; keepalive 4; }
    server {
        listen unix:$PWD/nginx.socket;
        listen unix:$PWD/nginx-tls.socket ssl;
        ${NGINX_PORT:+listen 127.0.0.1:$NGINX_PORT;}
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        root $PWD/site;
        location /folder/ { autoindex on; autoindex_format json; }
        location /proxied/ {
            proxy_pass http://back/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Accept-Encoding "";
        }
        location ~ ^/say/(\w+) { return 200 "said \$1 \$arg_word\n"; }
    }
    server {
        listen unix:$PWD/back.socket;
        root $PWD/site;
        sub_filter line row;
        sub_filter_once off;
        sub_filter_types text/plain;
    }
}
END
    exec nginx -p "$PWD" -c "$PWD/nginx.conf" "$@" ;;
mosquitto)
    cat > mosquitto.conf << END
listener 0 $PWD/mosquitto.socket
allow_anonymous true
${root:+user nobody}
persistence false
max_queued_messages 100000
max_inflight_messages 0
log_dest file $PWD/server.log
log_type error
log_type warning
log_type subscribe
END
    : > server.log
    chmod 666 server.log
    exec mosquitto -c mosquitto.conf "$@" ;;
squid) # a disk cache, so that its threads have something to do
    cat > squid.conf << END
http_port 127.0.0.1:$SQUID_PORT
${root:+cache_effective_user proxy}
http_access allow all
cache_mem 4 MB
maximum_object_size_in_memory 32 KB
cache_dir aufs $PWD/cache 20 4 4
access_log stdio:$PWD/access.log
cache_log $PWD/server.log
cache_store_log none
pid_filename $PWD/squid.pid
coredump_dir $PWD
pinger_enable off
netdb_filename none
shutdown_lifetime 0 seconds
visible_hostname test
icon_directory /usr/share/squid/icons
END
    [ -z "$root" ] || chown proxy .
    env -u LD_PRELOAD squid -N -z -f squid.conf 2> /dev/null
    exec squid -N -f squid.conf "$@" ;;
*)
    echo "serve.sh: no server is called \"$name\"" >&2
    exit 2 ;;
esac
