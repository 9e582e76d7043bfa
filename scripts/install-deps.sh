#!/usr/bin/env bash
# Installs what building and testing need besides a Rust toolchain: a redis-server (valkey-server serves as well).
# With --tests also nutcracker, against which placements are compared, and valgrind, which counts instructions; without
# them these two tests are left out.
# Does nothing when they are there. Never asks.
set -euo pipefail

have() { command -v "$1" >/dev/null 2>&1; }

say_and_fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

have cargo || say_and_fail "cargo is missing: install a Rust toolchain, see https://rustup.rs"
have cc || have gcc || have clang || say_and_fail \
    "a C linker is missing: on Debian or Ubuntu  sudo apt-get install build-essential"

# worth having, not worth failing for
wish() {
    local program=$1 without=$2
    if have "$program" || ! have apt-get; then return; fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
    echo "installing $program with apt-get"
    "${as_root[@]}" apt-get update -qq \
        && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$program" \
        || echo "$program cannot be installed: $without" >&2
}
if [ "${1:-}" = --tests ]; then
    wish nutcracker "the tests beside a real twemproxy are left out"
    wish valgrind "instructions are not counted"
fi

if have redis-server || have valkey-server; then
    exit 0
fi

by_hand=(
    "No redis-server and no valkey-server on PATH. Install one of them:"
    "  Debian, Ubuntu   sudo apt-get install redis-server"
    "  Fedora           sudo dnf install valkey"
    "  Arch             sudo pacman -S valkey"
    "  macOS            brew install redis"
)
have apt-get || say_and_fail "${by_hand[@]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    have sudo || say_and_fail "redis-server is missing, and there is no sudo to install it with." "${by_hand[@]}"
    # a password may be asked for on a terminal only
    if [ -t 0 ]; then as_root=(sudo); else as_root=(sudo -n); fi
fi

echo "installing redis-server with apt-get"
# the package starts a service on port 6379, which nothing here needs; policy-rc.d is left as the system has it
"${as_root[@]}" apt-get update -qq || say_and_fail "apt-get update failed." "${by_hand[@]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server \
    || say_and_fail "apt-get install failed." "${by_hand[@]}"
have redis-server || say_and_fail "redis-server was installed but is not on PATH." "${by_hand[@]}"
