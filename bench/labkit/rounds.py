"""The comparison: every workload, every contender in turn, in random order, several times."""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .contenders import Contender, Setup
from .system import BrokenRun, Process, free_ports, start_node
from .wire import check_round_trip, fill
from .workloads import Workload, drive

#: How many nodes stand behind the proxies.
NODES = 3
#: A fresh process is driven for a moment before it is measured: this part of the requests.
WARM_UP = 0.1
#: The node itself, without a proxy.
DIRECT = "direct"


@dataclass(frozen=True)
class Sample:
    """One contender under one workload in one round."""

    workload: str
    contender: str
    round: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    resident_kib: int


class Lab:
    """The nodes, and a place for everything that is written; a context manager."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()
        self.node_ports: tuple[int, ...] = ()
        self.nodes: list[Process] = []
        self._filled: tuple[int, int] | None = None
        self._started = 0

    def __enter__(self) -> Lab:
        try:
            self.folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ringway-lab-")))
            self.node_ports = tuple(free_ports(NODES))
            for port in self.node_ports:
                node = start_node(port, self.folder / f"node-{port}")
                self.nodes.append(self._resources.enter_context(node))
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def setup(self, name: str, threads: int, floor_reply: str = "bulk:64") -> Setup:
        self._started += 1
        return Setup(self.folder / f"{name}-{self._started}", self.node_ports, threads, floor_reply)

    def hold(self, workload: Workload) -> None:
        """Fills all nodes with the keys and values of a workload."""
        wanted = (workload.keys, workload.value_bytes)
        if self._filled != wanted:
            for port in self.node_ports:
                fill(port, *wanted)
            self._filled = wanted

    @contextlib.contextmanager
    def running(self, contender: Contender, threads: int, floor_reply: str) -> Iterator[Process]:
        """Starts a contender, checks that it tells the truth, and ends it."""
        with contender.start(self.setup(contender.name, threads, floor_reply)) as process:
            if contender.truthful:
                check_round_trip(process.port)
            yield process
            process.check_alive()


def measure(process: Process, workload: Workload, scale: float, round_number: int) -> Sample:
    """One warm-up and one measured run."""
    requests = max(2_000, int(workload.requests * scale))
    drive(process.port, workload.arguments, max(1_000, int(requests * WARM_UP)))
    before = process.cpu_seconds()
    load = drive(process.port, workload.arguments, requests)
    spent = process.cpu_seconds() - before
    return Sample(
        workload=workload.name,
        contender=process.name,
        round=round_number,
        requests_per_second=load.requests_per_second,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_us=spent / requests * 1e6,
        resident_kib=process.resident_kib("VmHWM"),
    )


def measure_direct(port: int, workload: Workload, scale: float, round_number: int) -> Sample:
    """The same load on one node, without anything between."""
    requests = max(2_000, int(workload.requests * scale))
    load = drive(port, workload.arguments, requests)
    return Sample(workload.name, DIRECT, round_number, load.requests_per_second, load.p50_ms, load.p99_ms, 0.0, 0)


def compare(
    contenders: list[Contender], workloads: list[Workload], rounds: int, threads: int, scale: float, direct: bool
) -> list[Sample]:
    """Runs the whole comparison. Raises BrokenRun when something does not work."""
    samples: list[Sample] = []
    with Lab() as lab:
        for round_number in range(rounds):
            for workload in workloads:
                lab.hold(workload)
                turn: list[Contender | None] = [*contenders, *([None] if direct else [])]
                random.shuffle(turn)
                for contender in turn:
                    sample = one_turn(lab, contender, workload, threads, scale, round_number)
                    samples.append(sample)
                    progress(sample, rounds)
    return samples


def one_turn(
    lab: Lab, contender: Contender | None, workload: Workload, threads: int, scale: float, round_number: int
) -> Sample:
    if contender is None:
        return measure_direct(lab.node_ports[0], workload, scale, round_number)
    try:
        with lab.running(contender, threads, workload.floor_reply) as process:
            return measure(process, workload, scale, round_number)
    except (BrokenRun, OSError) as broken:
        raise BrokenRun(f"{contender.name}, {workload.name}: {broken}") from broken


def progress(sample: Sample, rounds: int) -> None:
    print(
        f"  round {sample.round + 1}/{rounds}  {sample.workload:<12} {sample.contender:<11}"
        f" {sample.requests_per_second:>9,.0f} req/s  {sample.cpu_us:>7.2f} µs CPU/req",
        file=sys.stderr,
        flush=True,
    )
