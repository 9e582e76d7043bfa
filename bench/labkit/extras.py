"""Measurements beside the table: scaling over threads, memory of idle clients, bad neighbours."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import report
from .contenders import Contender
from .rounds import Lab
from .system import BrokenRun, Process, allow_many_files, require
from .wire import Connection, encode, key_name
from .workloads import WORKLOADS, Workload, drive

IDLE_CLIENTS = 10_000
#: How long a proxy is given to shrink its buffers after its clients fall silent, in seconds.
SHRINK_SECONDS = 3.0
#: How often a neighbour's effect is measured; the median counts.
NEIGHBOUR_ROUNDS = 3
HUGE_BYTES = 8 << 20
#: A node stands still for so long, again and again; shorter than anyone's operation timeout.
PAUSE_SECONDS = 0.3
#: redis-benchmark processes that drive a proxy together.
CLIENT_PROCESSES = 3


@dataclass(frozen=True)
class Section:
    """One measurement, ready to be shown."""

    name: str
    data: list[dict[str, Any]]
    text: str
    markdown: str


def section(name: str, title: str, note: str, header: list[str], data: list[dict[str, Any]]) -> Section:
    """A table of `data`, whose values stand in the order of `header`."""
    rows = [[_show(value) for value in row.values()] for row in data]
    markdown = f"## {title}\n\n{note}\n\n{report.markdown_table(header, rows)}\n"
    return Section(name, data, f"{title}\n{note}\n{report.text_table(header, rows)}", markdown)


def _show(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _workload(name: str) -> Workload:
    return next(workload for workload in WORKLOADS if workload.name == name)


def _proxies(contenders: list[Contender]) -> list[Contender]:
    """Those that place keys on several nodes."""
    return [one for one in contenders if one.truthful and one.name != "haproxy"]


# ---- scaling ---------------------------------------------------------------------------------------------------


def scaling(contenders: list[Contender], scale: float) -> Section:
    data = []
    with Lab() as lab:
        for name in ("get64-c50", "get64-p16"):
            workload = _workload(name)
            lab.hold(workload)
            for contender in (one for one in _proxies(contenders) if one.name != "nutcracker"):
                one, two = (_together(lab, contender, workload, threads, scale) for threads in (1, 2))
                data.append(
                    {
                        "workload": workload.title,
                        "contender": contender.name,
                        "cpu_us_1": one[1],
                        "cpu_us_2": two[1],
                        "cpu_ratio": two[1] / one[1],
                        "throughput_ratio": two[0] / one[0],
                        "capacity_ratio": 2 * one[1] / two[1],
                    }
                )
    note = (
        f"{CLIENT_PROCESSES} client processes. *Throughput* is what was seen, where nodes and clients share the cores "
        "with the proxy; *capacity* is what the CPU per request allows when every thread has a core of its own."
    )
    header = ["workload", "contender", "CPU µs, 1 thread", "2 threads", "ratio", "throughput × ", "capacity × "]
    return section("scaling", "Two threads instead of one", note, header, data)


def _together(lab: Lab, contender: Contender, workload: Workload, threads: int, scale: float) -> tuple[float, float]:
    """Requests per second and CPU µs per request under several clients at once."""
    each = max(2_000, int(workload.requests * scale / 2))
    with lab.running(contender, threads, workload.floor_reply) as process:
        drive(process.port, workload.arguments, each // 5)
        before, begun = process.cpu_seconds(), time.monotonic()
        with ThreadPoolExecutor(CLIENT_PROCESSES) as pool:
            runs = [pool.submit(drive, process.port, workload.arguments, each) for _ in range(CLIENT_PROCESSES)]
            for run in runs:
                run.result()
        elapsed, spent = time.monotonic() - begun, process.cpu_seconds() - before
    total = each * CLIENT_PROCESSES
    return total / elapsed, spent / total * 1e6


# ---- idle clients ----------------------------------------------------------------------------------------------


def idle(contenders: list[Contender], scale: float) -> Section:
    count = max(100, min(int(IDLE_CLIENTS * scale), allow_many_files() - 500))
    workload = _workload("get16k-c50")
    data = []
    with Lab() as lab:
        lab.hold(workload)
        for contender in _proxies(contenders):
            with lab.running(contender, 1, workload.floor_reply) as process:
                data.append({"contender": contender.name, **_idle_memory(process, count)})
    note = (
        f"{count:,} clients, one thread. *Connected*: each has sent one PING. *After 16 KB*: each has then read a "
        f"value of 16 KB and been silent for {SHRINK_SECONDS:.0f} s. KiB per client: the growth."
    )
    header = ["contender", "without MiB", "connected MiB", "KiB per client", "after 16 KB MiB", "KiB per client"]
    return section("idle", "Memory of idle clients", note, header, data)


def _idle_memory(process: Process, count: int) -> dict[str, float]:
    empty = process.resident_kib()
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", process.port), 10))
            client.sendall(encode("PING"))
            _receive(client, len(b"+PONG\r\n"))
            sockets.append(client)
        time.sleep(SHRINK_SECONDS)
        connected = process.resident_kib()
        reply_bytes = 16384 + len(b"$16384\r\n\r\n")
        for number, client in enumerate(sockets):
            client.sendall(encode("GET", key_name(number % 1000)))
            _receive(client, reply_bytes)
        time.sleep(SHRINK_SECONDS)
        after = process.resident_kib()
    return {
        "empty_mib": empty / 1024,
        "connected_mib": connected / 1024,
        "connected_kib_each": (connected - empty) / count,
        "after_mib": after / 1024,
        "after_kib_each": (after - empty) / count,
    }


def _receive(client: socket.socket, length: int) -> None:
    while length > 0:
        piece = client.recv(length)
        if not piece:
            raise BrokenRun("the proxy closed an idle client")
        length -= len(piece)


# ---- neighbours ------------------------------------------------------------------------------------------------


def neighbours(contenders: list[Contender], scale: float) -> Section:
    workload = _workload("get64-c50")
    data = []
    for contender in _proxies(contenders):
        with Lab() as lab:
            lab.hold(workload)
            with lab.running(contender, 1, workload.floor_reply) as process:
                data += _neighbours_of(lab, process, max(20_000, int(workload.requests * scale)))
    note = (
        "50 clients GET one key of a healthy node. *One slow node*: other clients write to another node, which stands "
        f"still for {PAUSE_SECONDS} s twice a second; before: the same clients with the node awake. *Huge replies*: "
        f"one other client reads a value of {HUGE_BYTES >> 20} MiB on another or the same node over and over; before: "
        "the same client reads it from the node itself, past the proxy, so that the load of the machine is the same."
    )
    header = ["contender", "neighbour", "p50 ms before", "p50 ms with", "p99 ms before", "p99 ms with"]
    return section("neighbours", "Bad neighbours", note, header, data)


def _neighbours_of(lab: Lab, process: Process, requests: int) -> list[dict[str, Any]]:
    owners = _owners(lab, process.port)
    (other, (other_key, beside_key)), (_, (healthy_key, _)) = list(owners.items())[:2]

    def latency(key: str = healthy_key) -> tuple[float, float]:
        loads = [drive(process.port, ("-c", "50", "GET", key), requests) for _ in range(NEIGHBOUR_ROUNDS)]
        loads.sort(key=lambda load: load.p99_ms)
        middle = loads[NEIGHBOUR_ROUNDS // 2]
        return middle.p50_ms, middle.p99_ms

    def row(neighbour: str, before: tuple[float, float], during: tuple[float, float]) -> dict[str, Any]:
        return {
            "contender": process.name,
            "neighbour": neighbour,
            "p50_before_ms": before[0],
            "p50_with_ms": during[0],
            "p99_before_ms": before[1],
            "p99_with_ms": during[1],
        }

    with _background(process.port, "-c", "5", "SET", other_key, "x"):
        awake = latency()
        with _standing_still(lab.nodes[other]):
            asleep = latency()
    with Connection(process.port, timeout=60) as client:
        client.command("SET", other_key, b"h" * HUGE_BYTES)
    with _background(lab.node_ports[other], "-c", "1", "GET", other_key):
        past, past_beside = latency(), latency(beside_key)
    with _background(process.port, "-c", "1", "GET", other_key):
        through, through_beside = latency(), latency(beside_key)
    return [
        row("one slow node", awake, asleep),
        row("huge replies, another node", past, through),
        row("huge replies, the same node", past_beside, through_beside),
    ]


def _owners(lab: Lab, port: int) -> dict[int, list[str]]:
    """For each node two keys that the proxy puts there."""
    found: dict[int, list[str]] = {}
    with Connection(port) as proxy, contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Connection(node_port)) for node_port in lab.node_ports]
        for number in range(1000):
            key = f"lab:owner:{number}"
            proxy.command("SET", key, "x")
            for at, node in enumerate(nodes):
                if node.command("EXISTS", key) == b"1" and len(found.setdefault(at, [])) < 2:
                    found[at].append(key)
            if len(found) == len(nodes) and all(len(keys) > 1 for keys in found.values()):
                return found
    raise BrokenRun("the proxy leaves a node without keys")


@contextlib.contextmanager
def _background(port: int, *arguments: str) -> Iterator[None]:
    """Another client that goes on until it is ended."""
    command = [require("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "-l", "-n", "1000000", "-q", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        time.sleep(0.3)
        yield
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def _standing_still(node: Process) -> Iterator[None]:
    """Stops and continues a node's process, again and again."""
    ended = threading.Event()

    def pace() -> None:
        while not ended.is_set():
            node.signal(signal.SIGSTOP)
            ended.wait(PAUSE_SECONDS)
            node.signal(signal.SIGCONT)
            ended.wait(0.5 - PAUSE_SECONDS)

    thread = threading.Thread(target=pace)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        node.signal(signal.SIGCONT)


EXTRAS: dict[str, Callable[[list[Contender], float], Section]] = {
    "scaling": scaling,
    "idle": idle,
    "neighbours": neighbours,
}


def choose(text: str) -> list[str]:
    """The names in `text`, or all of them. Raises BrokenRun for an unknown one."""
    names = list(EXTRAS) if text == "all" else [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in EXTRAS]:
        raise BrokenRun(f"no such extra: {', '.join(unknown)}; there are {', '.join(EXTRAS)}")
    return names
