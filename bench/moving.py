"""A node joins and its keys move with the ring, while clients ask for them: through one Ringway, or through those that follow
it.

    make bench-moving
    python3 bench/moving.py --ringway target/release/ringway --followers 2

Starts four redis-servers and the Ringways with one worker each on free ports, fills the keys, and prints what
redis-benchmark sees before and meanwhile. Clients use the followers where there are any. Needs redis-server and
redis-benchmark. All of it shares this machine, so that the figures say how much is disturbed, not how fast it could be.
"""

import argparse
import csv
import json
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

CLIENTS = 50


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Fleet:
    """The servers and the Ringways in front of them, the leader first."""

    def __init__(self, binary: str, followers: int, folder: pathlib.Path):
        self.processes, self.folder, self.binary = [], folder, binary
        self.nodes = [self.redis() for _ in range(4)]
        self.admin, self.listen = [], []
        for at in range(1 + followers):
            self.ringway(at)

    def redis(self) -> int:
        port = free_port()
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        wait_until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)
        return port

    def ringway(self, at: int) -> None:
        admin, listen, config = free_port(), free_port(), self.folder / f"{at}.yaml"
        follow = f"follow: {{url: 'http://127.0.0.1:{self.admin[0]}', name: follower-{at}}}\n" if at else ""
        nodes = "".join(f"  - {{name: cache-{n}, address: '127.0.0.1:{p}'}}\n" for n, p in enumerate(self.nodes[:3], 1))
        config.write_text(
            f"listen: 127.0.0.1:{listen}\nthreads: 1\nadmin: {{listen: '127.0.0.1:{admin}'}}\n"
            f"topology_file: {self.folder}/{at}.json\n{follow}nodes:\n{nodes}"
        )
        command = [self.binary, "serve", "--config", str(config)]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self.admin.append(admin)
        self.listen.append(listen)
        wait_until(lambda: call(admin, "GET", "/readyz") is not None)

    def clients_use(self) -> list[int]:
        return self.listen[1:] or self.listen

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()


def call(admin: int, method: str, path: str, body: dict | None = None) -> dict | str:
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{admin}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith(("{", "[")) else text


def wait_until(condition) -> None:
    for _ in range(500):
        try:
            if condition():
                return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.02)
    raise SystemExit("moving: something did not start within 10 s")


def ask(ports: list[int], requests: int, keys: int) -> tuple[list[dict], list[threading.Thread]]:
    """Has redis-benchmark ask each port for keys; what it saw, once the threads have ended."""
    seen = [{} for _ in ports]

    def one(at: int) -> None:
        command = ["redis-benchmark", "-p", str(ports[at]), "-t", "get", "-n", str(requests // len(ports))]
        command += ["-r", str(keys), "-c", str(CLIENTS // len(ports)), "--csv"]
        run = subprocess.run(command, capture_output=True, text=True)
        rows = list(csv.DictReader(line for line in run.stdout.splitlines() if line.startswith('"')))
        if run.returncode or not rows:
            raise SystemExit(f"moving: redis-benchmark failed: {run.stdout[-300:]}{run.stderr[-300:]}")
        seen[at] = rows[-1]

    threads = [threading.Thread(target=one, args=(at,)) for at in range(len(ports))]
    for thread in threads:
        thread.start()
    return seen, threads


def show(when: str, seen: list[dict]) -> None:
    worst = lambda name: max(float(row[name]) for row in seen)
    rate = sum(float(row["rps"]) for row in seen)
    print(
        f"{when:<10} {rate:9,.0f} requests/s   median {worst('p50_latency_ms'):6.2f} ms   "
        f"p99 {worst('p99_latency_ms'):6.2f} ms   longest {worst('max_latency_ms'):7.2f} ms"
    )


def changes(fleet: Fleet) -> None:
    """How long after the answer to a change all followers serve it."""
    took = []
    for weight in [2, 1] * 15:
        epoch = call(fleet.admin[0], "PATCH", "/v1/nodes/cache-1", {"weight": weight})["to_epoch"]
        answered = time.perf_counter()
        for admin in fleet.admin[1:]:
            while call(admin, "GET", "/v1/topology")["epoch"] < epoch:
                pass
        took.append((time.perf_counter() - answered) * 1e3)
        time.sleep(0.05)
    took.sort()
    print(f"{len(took)} changes: all followers serve them {took[len(took) // 2]:.1f} ms after the answer, {took[-1]:.1f} ms at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ringway", required=True, help="the binary, built in release mode")
    parser.add_argument("--followers", type=int, default=0)
    parser.add_argument("--keys", type=int, default=300_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(arguments.ringway, arguments.followers, pathlib.Path(folder))
        try:
            if arguments.followers:
                changes(fleet)
            fill = ["redis-benchmark", "-p", str(fleet.listen[0]), "-t", "set", "-n", str(4 * arguments.keys)]
            subprocess.run(fill + ["-r", str(arguments.keys), "-d", "100", "-P", "16", "-q"], stdout=subprocess.DEVNULL, check=True)
            seen, threads = ask(fleet.clients_use(), 200_000, arguments.keys)
            for thread in threads:
                thread.join()
            show("before", seen)
            seen, threads = ask(fleet.clients_use(), 300_000, arguments.keys)
            time.sleep(0.5)
            began = time.monotonic()
            body = {"name": "cache-4", "address": f"127.0.0.1:{fleet.nodes[3]}"}
            call(fleet.admin[0], "POST", "/v1/nodes?move_keys=true", body)
            while (moved := call(fleet.admin[0], "GET", "/v1/movement"))["state"] in ("begins", "moves"):
                time.sleep(0.02)
            took = time.monotonic() - began
            for thread in threads:
                thread.join()
            show("meanwhile", seen)
            print(f"{moved['moved']:,} keys moved in {took:.1f} s, {moved['fetched']:,} of them because a command waited; {moved['state']}")
        finally:
            fleet.end()


if __name__ == "__main__":
    main()
