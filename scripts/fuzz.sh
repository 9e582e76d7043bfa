#!/usr/bin/env bash
# Searches on with libFuzzer, which sees what an input covers: every target, or the one named, for so many seconds each.
#
#   scripts/fuzz.sh [SECONDS [TARGET]]     targets: requests replies inline keys join (proxy), change (ring), config (the program)
#
# Needs cargo-fuzz (cargo install cargo-fuzz). Without a nightly compiler the stable one is told to accept the flags.
# What is found lies in fuzz/artifacts of the crate; new inputs that cover more stay in target/fuzz-corpus.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-60}
only=${2:-}

command -v cargo-fuzz >/dev/null || {
    echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2
    exit 1
}
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz

run() {
    local crate=$1 target=$2
    if [ -n "$only" ] && [ "$only" != "$target" ]; then return; fi
    local found=$PWD/target/fuzz-corpus/$target committed=$PWD/$crate/fuzz/corpus/$target
    mkdir -p "$found" "$committed"
    echo "== $crate: $target, $seconds s"
    (cd "$crate" && cargo fuzz run "$target" "$found" "$committed" -- -max_total_time="$seconds" -print_final_stats=1)
}

for target in requests replies inline keys join; do run proxy "$target"; done
run ring change
run . config
