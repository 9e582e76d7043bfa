#!/usr/bin/env bash
# The benchmarks of the ring and of the proxy. Arguments go to criterion, for example:  scripts/bench.sh lookup
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
for package in ringway-ring ringway-proxy; do
    folder=${package#ringway-}/benches
    if [ -d "$folder" ]; then
        cargo bench --locked -p "$package" --benches -- "$@"
    else
        echo "$package: no benchmarks"
    fi
done
