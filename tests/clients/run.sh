#!/bin/sh
# Real clients against a real Ringway: redis-py, ioredis, node-redis, Ruby's redis and redis-benchmark, each with its
# default handshake and its everyday commands; what applications build on Redis; job queues (Celery, BullMQ, bee-queue),
# a cache (django-redis), sessions, rate limits and rooms of socket.io, unchanged. Ends with a line "N passed, N failed"
# and is non-zero when anything failed.
#
#   tests/clients/run.sh                 builds the debug binary and uses it
#   PROFILE=release tests/clients/run.sh
#   RINGWAY=/path/to/ringway tests/clients/run.sh
#
# Everything that is installed goes below target/clients.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/target/clients
profile=${PROFILE:-debug}
mkdir -p "$work/node"

need() {
    command -v "$1" >/dev/null 2>&1 || { echo "$1 is missing: $2" >&2; exit 1; }
}
need python3 "on Debian or Ubuntu: apt-get install python3 python3-venv"
need npm "on Debian or Ubuntu: apt-get install npm"
need redis-benchmark "on Debian or Ubuntu: apt-get install redis-tools"

if [ -z "${RINGWAY:-}" ]; then
    if [ "$profile" = release ]; then release=--release; else release=; fi
    # shellcheck disable=SC2086 # no word at all when empty
    (cd "$root" && cargo build --quiet $release --bin ringway)
    RINGWAY=${CARGO_TARGET_DIR:-$root/target}/$profile/ringway
fi

if ! ruby -e 'require "redis"' 2>/dev/null && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ruby ruby-redis \
        >/dev/null
fi

[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
cp "$here/package.json" "$here"/*.mjs "$work/node/"
(cd "$work/node" && npm install --no-audit --no-fund --loglevel=error >/dev/null)

printed=$work/ringway.out
: >"$printed"
"$RINGWAY" dev --nodes 3 --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$printed" 2>"$work/ringway.log" &
ringway=$!
trap 'kill "$ringway" 2>/dev/null; wait "$ringway" 2>/dev/null' EXIT
trap 'exit 130' INT TERM

address=
tries=0
while [ -z "$address" ]; do
    kill -0 "$ringway" 2>/dev/null || { cat "$work/ringway.log" >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -le 300 ] || { echo "ringway dev did not start within 30 s" >&2; exit 1; }
    sleep 0.1
    address=$(sed -n 's/^clients *//p' "$printed")
done
host=${address%:*}
port=${address##*:}

passed=0
failed=0

# The programs print "ok NAME" and "FAILED NAME: why", a line for each check.
suite() {
    name=$1
    shift
    echo "== $name"
    status=0
    "$@" >"$work/out" 2>&1 || status=$?
    good=$(grep -c '^ok ' "$work/out" || true)
    bad=$(grep -c '^FAILED ' "$work/out" || true)
    if [ "$bad" -gt 0 ] || [ "$status" -ne 0 ] || [ "$good" -eq 0 ]; then
        cat "$work/out"
        [ "$bad" -gt 0 ] || { bad=1; echo "FAILED $name: exit status $status"; }
    fi
    echo "   $good passed, $bad failed"
    passed=$((passed + good))
    failed=$((failed + bad))
}

benchmark() {
    tests=set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset
    count=$(echo "$tests" | tr ',' '\n' | wc -l)
    for depth in 1 16; do
        # without a node that is asked for its configuration the tool only warns
        if redis-benchmark -h "$host" -p "$port" -t "$tests" -P "$depth" -n 5000 -c 20 -r 1000 --csv >"$work/bench" 2>&1 &&
            ! grep -i '^error' "$work/bench" >/dev/null &&
            [ "$(grep -c '^"[A-Z]' "$work/bench")" -ge "$count" ]; then
            echo "ok redis-benchmark -P $depth ($count tests)"
        else
            cat "$work/bench"
            echo "FAILED redis-benchmark -P $depth: see above"
        fi
    done
}

suite "redis-py, sync and asyncio, RESP2 and RESP3" "$work/venv/bin/python" "$here/redis_py.py" "$host" "$port"
suite "ioredis" node "$work/node/ioredis.mjs" "$host" "$port"
suite "node-redis, RESP2 and RESP3" node "$work/node/node_redis.mjs" "$host" "$port"
suite "patterns of applications, RESP2 and RESP3" "$work/venv/bin/python" "$here/patterns.py" "$host" "$port"
suite "django-redis" "$work/venv/bin/python" "$here/django_cache.py" "$host" "$port"
suite "celery" "$work/venv/bin/python" "$here/celery_tasks.py" "$host" "$port"
suite "bee-queue, connect-redis, rate-limiter-flexible, socket.io" node "$work/node/apps.mjs" "$host" "$port"
suite "bullmq" node "$work/node/bullmq.mjs" "$host" "$port"
if ruby -e 'require "redis"' 2>/dev/null; then
    suite "ruby" ruby "$here/ruby_redis.rb" "$host" "$port"
else
    echo "== ruby is left out: apt-get install ruby ruby-redis"
fi
suite "redis-benchmark" benchmark

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
