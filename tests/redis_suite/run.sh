#!/bin/sh
# Redis's own test suite against Ringway; see docs/redis-suite.md and run.py, to which further arguments go.
#
#   tests/redis_suite/run.sh                        builds in release mode; fetches the suite with apt-get source
#   SUITE=/path/to/redis-7.0.15 tests/redis_suite/run.sh --kinds one --units unit/multi
#   RINGWAY=/path/to/ringway tests/redis_suite/run.sh
#
# Everything that is fetched or written goes below target/redis-suite.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/target/redis-suite
version=7.0.15
mkdir -p "$work"

need() {
    command -v "$1" >/dev/null 2>&1 || { echo "$1 is missing: $2" >&2; exit 1; }
}
need python3 "on Debian or Ubuntu: apt-get install python3"
need tclsh "on Debian or Ubuntu: apt-get install tcl"
need redis-server "on Debian or Ubuntu: apt-get install redis-server"
case $(redis-server --version) in
    *"v=$version"*) ;;
    *) echo "redis-server is not $version: what its suite expects of it may differ" >&2 ;;
esac

# The package's sources, from lists of their own: those of the system need not name sources, and stay as they are.
fetch() {
    need apt-get "unpack redis-$version yourself and name it: SUITE=/path/to/redis-$version"
    lists=$work/lists
    mkdir -p "$lists/partial"
    apt-get indextargets --format 'deb-src $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
        | sort -u >"$work/sources.list"
    set -- -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$lists" -o APT::Sandbox::User=root -qq
    apt-get "$@" update
    (cd "$work" && apt-get "$@" source --download-only redis)
    tar -xzf "$work/redis_$version.orig.tar.gz" -C "$work"
}

if [ -z "${SUITE:-}" ]; then
    SUITE=$work/redis-$version
    [ -f "$SUITE/tests/test_helper.tcl" ] || fetch
fi
[ -f "$SUITE/tests/test_helper.tcl" ] || { echo "$SUITE has no tests/test_helper.tcl" >&2; exit 1; }

# a copy of its tests, since it writes into its own directory
rm -rf "$work/tree"
mkdir -p "$work/tree/src"
cp -R "$SUITE/tests" "$work/tree/"
for program in redis-server redis-cli redis-benchmark; do
    ln -sf "$(command -v "$program" || echo /nonexistent)" "$work/tree/src/$program"
done

if [ -z "${RINGWAY:-}" ]; then
    (cd "$root" && cargo build --quiet --release --locked --bin ringway)
    RINGWAY=${CARGO_TARGET_DIR:-$root/target}/release/ringway
fi

exec python3 "$here/run.py" --suite "$work/tree" --ringway "$RINGWAY" --keep "$work/words" "$@"
