"""How each contender is found, configured and started in front of the same nodes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from .system import Process, first_line, free_ports

ROOT = Path(__file__).resolve().parents[2]


def _built(package_folder: Path, name: str) -> str | None:
    """What `cargo build --release` has left, if it was run."""
    target = os.environ.get("CARGO_TARGET_DIR")
    path = (Path(target) if target else package_folder / "target") / "release" / name
    return str(path) if path.exists() else None


@dataclass(frozen=True)
class Setup:
    """What a contender is started with."""

    folder: Path
    node_ports: tuple[int, ...]
    threads: int
    floor_reply: str

    def nodes(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port in self.node_ports]


class Contender(ABC):
    """Something a client can connect to instead of a node."""

    name: str
    #: Whether it answers from the nodes; the floor does not.
    truthful = True

    @abstractmethod
    def program(self) -> str | None:
        """The executable, or None when it is not installed here."""

    @abstractmethod
    def command(self, setup: Setup, port: int) -> list[str]:
        """Writes its configuration and returns how to start it."""

    def version(self) -> str:
        return first_line(self.program() or "", "--version")

    def start(self, setup: Setup) -> Process:
        setup.folder.mkdir(parents=True, exist_ok=True)
        port = free_ports(1)[0]
        process = Process(self.name, self.command(setup, port), setup.folder, port)
        try:
            process.wait_until_it_listens()
        except Exception:
            process.stop()
            raise
        return process


class Ringway(Contender):
    """The project's own proxy; `template` replaces the command that starts it."""

    name = "ringway"

    def __init__(self, template: str | None) -> None:
        self._template = template

    def program(self) -> str | None:
        if self._template:
            return shlex.split(self._template)[0]
        return _built(ROOT, "ringway")

    def command(self, setup: Setup, port: int) -> list[str]:
        config = setup.folder / "ringway.yaml"
        lines = [f"listen: 127.0.0.1:{port}", f"threads: {setup.threads}", "limits:", "  clients: 20000"]
        lines += ["admin:", f"  listen: 127.0.0.1:{free_ports(1)[0]}", "nodes:"]
        for number, address in enumerate(setup.nodes()):
            lines += [f"  - name: node{number}", f"    address: {address}"]
        config.write_text("\n".join(lines) + "\n")
        template = self._template or f"{shlex.quote(self.program() or 'ringway')} serve --config {{config}}"
        values = {"config": str(config), "port": port, "threads": setup.threads, "nodes": ",".join(setup.nodes())}
        return [word.format(**values) for word in shlex.split(template)]


class Floor(Contender):
    """The bare epoll responder of `bench/floor`: no node behind it, replies from a tin."""

    name = "floor"
    truthful = False

    def program(self) -> str | None:
        return _built(ROOT / "bench" / "floor", "ringway-floor")

    def version(self) -> str:
        return ""

    def command(self, setup: Setup, port: int) -> list[str]:
        flags = ["--port", str(port), "--threads", str(setup.threads), "--reply", setup.floor_reply]
        return [self.program() or "", *flags]


class Nutcracker(Contender):
    """twemproxy; it has one thread whatever is asked of it."""

    name = "nutcracker"

    def program(self) -> str | None:
        return shutil.which("nutcracker")

    def version(self) -> str:
        return first_line("nutcracker", "-V")

    def command(self, setup: Setup, port: int) -> list[str]:
        pool = {
            "listen": f"127.0.0.1:{port}",
            "hash": "fnv1a_64",
            "distribution": "ketama",
            "redis": "true",
            "preconnect": "true",
            "auto_eject_hosts": "false",
            "backlog": "1024",
        }
        lines = ["lab:", *(f"  {name}: {value}" for name, value in pool.items()), "  servers:"]
        lines += [f"   - {address}:1 node{number}" for number, address in enumerate(setup.nodes())]
        (setup.folder / "nutcracker.yml").write_text("\n".join(lines) + "\n")
        return [self.program() or "", "-c", "nutcracker.yml", "-s", str(free_ports(1)[0])]


class Envoy(Contender):
    """Envoy's redis_proxy filter with a ring hash."""

    name = "envoy"

    def program(self) -> str | None:
        return os.environ.get("ENVOY") or shutil.which("envoy")

    def version(self) -> str:
        return first_line(self.program() or "", "--version").split("version:")[-1].strip()

    def command(self, setup: Setup, port: int) -> list[str]:
        (setup.folder / "envoy.json").write_text(json.dumps(self._config(setup, port)))
        flags = ["--concurrency", str(setup.threads), "--log-level", "error", "--use-dynamic-base-id"]
        return [self.program() or "", "--config-path", "envoy.json", *flags]

    @staticmethod
    def _config(setup: Setup, port: int) -> dict[str, object]:
        def address(number: int) -> dict[str, object]:
            return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

        redis_proxy = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
            "stat_prefix": "lab",
            "settings": {"op_timeout": "5s"},
            "prefix_routes": {"catch_all_route": {"cluster": "nodes"}},
        }
        filters = [{"name": "envoy.filters.network.redis_proxy", "typed_config": redis_proxy}]
        endpoints = [{"endpoint": {"address": address(node)}} for node in setup.node_ports]
        cluster = {
            "name": "nodes",
            "type": "STATIC",
            "lb_policy": "RING_HASH",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "nodes", "endpoints": [{"lb_endpoints": endpoints}]},
        }
        listener = {"name": "redis", "address": address(port), "filter_chains": [{"filters": filters}]}
        return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


class Predixy(Contender):
    """predixy, from the path in the environment variable PREDIXY or on the search path."""

    name = "predixy"

    def program(self) -> str | None:
        return os.environ.get("PREDIXY") or shutil.which("predixy")

    def command(self, setup: Setup, port: int) -> list[str]:
        groups = "".join(
            f"  Group s{number} {{\n    + {address}\n  }}\n" for number, address in enumerate(setup.nodes())
        )
        (setup.folder / "predixy.conf").write_text(
            f"Name lab\nBind 127.0.0.1:{port}\nWorkerThreads {setup.threads}\nClientTimeout 300\n"
            "Authority {\n  Auth {\n    Mode write\n  }\n}\n"
            'StandaloneServerPool {\n  Databases 1\n  Hash crc16\n  HashTag "{}"\n  Distribution modula\n'
            "  RefreshMethod fixed\n  ServerTimeout 5\n  ServerFailureLimit 10\n  ServerRetryTimeout 1\n"
            f"  KeepAlive 120\n{groups}}}\n"
        )
        return [self.program() or "", "predixy.conf"]


class Haproxy(Contender):
    """A TCP proxy in front of one node: the price of two sockets and no understanding."""

    name = "haproxy"

    def program(self) -> str | None:
        return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")

    def version(self) -> str:
        return first_line(self.program() or "", "-v")

    def command(self, setup: Setup, port: int) -> list[str]:
        (setup.folder / "haproxy.cfg").write_text(
            f"global\n  nbthread {setup.threads}\n  maxconn 4000\n"
            "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n"
            f"listen lab\n  bind 127.0.0.1:{port}\n  server node0 {setup.nodes()[0]}\n"
        )
        return [self.program() or "", "-f", "haproxy.cfg", "-db"]


def all_contenders(ringway_template: str | None) -> dict[str, Contender]:
    """Everyone the lab knows, in the order of the tables."""
    everyone = [Ringway(ringway_template), Floor(), Haproxy(), Nutcracker(), Envoy(), Predixy()]
    return {one.name: one for one in everyone}
