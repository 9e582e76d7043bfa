"""The table of workloads, and one run of redis-benchmark."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass, field

from .system import BrokenRun, require

#: Goals: CPU per request as a ratio to another contender in the same run.
USUAL = {"nutcracker": 0.75, "envoy": 0.75, "predixy": 1.0}
DEEP = {"nutcracker": 0.30, "envoy": 0.75, "predixy": 1.0}


@dataclass(frozen=True)
class Workload:
    """What clients do, and what is expected of Ringway while they do it."""

    name: str
    title: str
    arguments: tuple[str, ...]
    requests: int
    floor_reply: str
    value_bytes: int = 64
    keys: int = 100_000
    goals: dict[str, float] = field(default_factory=lambda: dict(USUAL))


def _simple(command: str, size: int, clients: int, pipeline: int = 1, keys: int = 100_000) -> tuple[str, ...]:
    words = ["-t", command, "-d", str(size), "-c", str(clients), "-r", str(keys)]
    return tuple(words + (["-P", str(pipeline)] if pipeline > 1 else []))


_MGET = ("-c", "50", "-r", "100000", "MGET", *["key:__rand_int__"] * 10)

#: Ordered by the size of the values the nodes hold, so that they are filled seldom.
WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "get64-c50", "GET 64 B, 50 clients", _simple("get", 64, 50), 150_000, "bulk:64", goals={**USUAL, "floor": 1.25}
    ),
    Workload(
        "set64-c50", "SET 64 B, 50 clients", _simple("set", 64, 50), 150_000, "ok", goals={**USUAL, "floor": 1.25}
    ),
    Workload(
        "get64-p16", "GET 64 B, 50 clients, pipeline 16", _simple("get", 64, 50, 16), 1_200_000, "bulk:64", goals=DEEP
    ),
    Workload("set64-p16", "SET 64 B, 50 clients, pipeline 16", _simple("set", 64, 50, 16), 1_000_000, "ok", goals=DEEP),
    Workload("get64-p128", "GET 64 B, 50 clients, pipeline 128", _simple("get", 64, 50, 128), 2_000_000, "bulk:64"),
    Workload(
        "mget10-c50",
        "MGET of 10 keys over 3 nodes, 50 clients",
        _MGET,
        80_000,
        "array:10:64",
        goals={**USUAL, "nutcracker": 0.60},
    ),
    Workload(
        "get64-c1",
        "GET 64 B, 1 client",
        _simple("get", 64, 1),
        20_000,
        "bulk:64",
        goals={"nutcracker": 1.0, "envoy": 1.0, "predixy": 1.0},
    ),
    Workload("get64-c1000", "GET 64 B, 1,000 clients", _simple("get", 64, 1000), 200_000, "bulk:64"),
    Workload(
        "get1k-p16",
        "GET 1 KB, 50 clients, pipeline 16",
        _simple("get", 1024, 50, 16),
        600_000,
        "bulk:1024",
        value_bytes=1024,
        goals=DEEP,
    ),
    Workload(
        "get16k-c50",
        "GET 16 KB, 50 clients",
        _simple("get", 16384, 50, keys=1000),
        100_000,
        "bulk:16384",
        value_bytes=16384,
        keys=1000,
    ),
)


@dataclass(frozen=True)
class Load:
    """What one run of redis-benchmark saw; latencies in milliseconds."""

    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def drive(port: int, arguments: tuple[str, ...], requests: int, timeout: float = 300) -> Load:
    """Runs redis-benchmark to its end. Raises BrokenRun on an error reply or a lost connection."""
    command = [require("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "-n", str(requests), "-e", "--csv"]
    try:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as expired:
        raise BrokenRun(f"redis-benchmark {' '.join(arguments)} did not end in {timeout} s") from expired
    if done.returncode != 0 or "Error from server" in done.stdout:
        raise BrokenRun(f"redis-benchmark {' '.join(arguments)}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return read_csv(done.stdout, requests)


def read_csv(text: str, requests: int) -> Load:
    """Reads the figures: test, rps, avg, min, p50, p95, p99, max. The test's name may hold commas."""
    for cells in csv.reader(text.splitlines()):
        if len(cells) >= 8 and cells[0] != "test":
            rate, _, _, p50, _, p99, _ = (float(cell) for cell in cells[-7:])
            return Load(requests, rate, p50, p99)
    raise BrokenRun(f"redis-benchmark printed no figures: {text[-300:]}")
