#!/usr/bin/env bash
# The benchmarks. Without arguments the load laboratory: Ringway beside its peers and the kernel's floor, written to
# docs/bench. Arguments go to the laboratory:  scripts/bench.sh --quick  (its own --help lists them).
#
#   scripts/bench.sh micro [FILTER]   criterion benches of the ring and of the proxy's pure parts
#   scripts/bench.sh moving           a node joins and its keys move while clients ask for them, alone and with two followers
#   scripts/bench.sh ratchet [FLAGS]  instructions per request, held against docs/bench/instructions.json
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

micro() {
    cargo bench --locked -p ringway-ring --benches -- "$@"
    cargo bench --locked -p ringway-proxy --features bench --bench hot_path -- "$@"
}

moving() {
    scripts/install-deps.sh
    cargo build --locked --release --bin ringway
    local binary="${CARGO_TARGET_DIR:-target}/release/ringway"
    echo "one Ringway"
    python3 bench/moving.py --ringway "$binary"
    echo "clients of two that follow another one"
    python3 bench/moving.py --ringway "$binary" --followers 2
}

laboratory() {
    scripts/install-deps.sh
    cargo build --locked --release --bin ringway
    (cd bench/floor && cargo build --locked --release)
    for peer in nutcracker haproxy envoy predixy; do
        command -v "$peer" >/dev/null || echo "bench: $peer is not installed and will be missing from the table"
    done
    python3 bench/lab.py "$@"
}

case "${1:-}" in
    micro) shift && micro "$@" ;;
    moving) moving ;;
    ratchet) shift && python3 bench/ratchet.py "$@" ;;
    *) laboratory "$@" ;;
esac
