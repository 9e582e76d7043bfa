"""Processes, ports, and what the kernel says they cost."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import subprocess
import time
from pathlib import Path


class BrokenRun(Exception):
    """Something does not work; a machine that is merely slow never raises it."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def allow_many_files() -> int:
    """Raises the limit on open files as far as it may be raised; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Process:
    """A child process with its own folder and log; a context manager that ends it."""

    def __init__(self, name: str, command: list[str], folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.port = port
        self._log_path = folder / "log.txt"
        with self._log_path.open("ab") as log:
            self._child = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_it_listens(self, seconds: float = 15) -> None:
        """Returns once the port accepts connections.

        Raises BrokenRun when the process ends first or does not get there.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_alive()
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise BrokenRun(f"{self.name} does not listen on port {self.port} after {seconds} s: {self.log_tail()}")

    def check_alive(self) -> None:
        code = self._child.poll()
        if code is not None:
            raise BrokenRun(f"{self.name} has ended with code {code}: {self.log_tail()}")

    def log_tail(self) -> str:
        return self._log_path.read_bytes()[-800:].decode(errors="replace").strip()

    def stop(self) -> None:
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def cpu_seconds(self) -> float:
        """Time its living threads have spent on a processor; the kernel counts in nanoseconds."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue  # the thread ended meanwhile
        return total / 1e9

    def resident_kib(self, field: str = "VmRSS") -> int:
        """Resident memory now, or the most there ever was (`VmHWM`)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise BrokenRun(f"{self.name}: the kernel does not tell {field}")


def require(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise BrokenRun(f"{program} is not installed (Debian: apt-get install redis-server redis-tools)")
    return found


def start_node(port: int, folder: Path) -> Process:
    """A redis-server that keeps nothing on disk."""
    command = [require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--appendonly", "no", "--maxclients", "20000", "--enable-debug-command", "local"]
    node = Process(f"node on {port}", command, folder, port)
    node.wait_until_it_listens()
    return node


def first_line(*command: str) -> str:
    """The first line a program prints about itself, or an empty text."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else ""


def machine() -> dict[str, str | int]:
    """What a reader must know to judge the figures."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "redis": first_line("redis-server", "--version"),
    }
