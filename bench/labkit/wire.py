"""As much RESP as the lab needs: to fill nodes, to check a proxy, to sit idle on a connection."""

from __future__ import annotations

import socket

from .system import BrokenRun


def encode(*words: str | bytes) -> bytes:
    """One command as a RESP array."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode() if isinstance(word, str) else word
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Connection:
    """A blocking connection that understands simple replies and bulk strings."""

    def __init__(self, port: int, timeout: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def command(self, *words: str | bytes) -> bytes | None:
        """Sends one command and returns its reply; errors raise BrokenRun."""
        self.socket.sendall(encode(*words))
        return self.reply()

    def reply(self) -> bytes | None:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise BrokenRun("a connection was closed in the middle of a reply")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+:":
            return rest
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self._stream.read(length + 2)[:-2]
        raise BrokenRun(f"an unexpected reply: {line[:200]!r}")


def key_name(number: int) -> str:
    """The names redis-benchmark gives its keys."""
    return f"key:{number:012d}"


def fill(port: int, keys: int, value_bytes: int) -> None:
    """Gives a node every key of a workload, so that every read of every contender finds one."""
    value = b"v" * value_bytes
    batch = max(1, min(1000, 4_000_000 // (value_bytes + 64)))
    with Connection(port, timeout=60) as node:
        node.command("FLUSHALL")
        for first in range(0, keys, batch):
            numbers = range(first, min(first + batch, keys))
            node.socket.sendall(b"".join(encode("SET", key_name(number), value) for number in numbers))
            for _ in numbers:
                node.reply()


def check_round_trip(port: int) -> None:
    """What is written through a contender is read back through it."""
    with Connection(port) as proxy:
        for number in range(20):
            key, value = f"lab:check:{number}", f"value {number}".encode()
            proxy.command("SET", key, value)
            found = proxy.command("GET", key)
            if found != value:
                raise BrokenRun(f"GET {key} returned {found!r} after SET {value!r}")
