/* servers.c: servers under load by clients that check every answer. See programs.h. */
#include "programs.h"

#define SERVER(file) SCRIPT(file), .server = true

PROGRAM(redis, 5000, SERVER("redis.sh"))
PROGRAM(memcached, 5, SERVER("memcached.sh"))
PROGRAM(nginx, 100, SERVER("nginx.sh"))
PROGRAM(mosquitto, 1000, SERVER("mosquitto.sh"))
PROGRAM(squid, 1500, SERVER("squid.sh"))

POLICIES(redis)
