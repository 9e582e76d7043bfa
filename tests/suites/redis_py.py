"""redis-py's own test suite, unchanged: against one plain redis-server, then against Ringway.

    python3 tests/suites/redis_py.py --ringway target/debug/ringway

Downloads the pinned source package, runs those of its test files that talk to one server, and compares test by test. What
passes with a plain server must pass through Ringway, or stand in exceptions.txt with its reason. Everything that is
installed or written goes below target/suites.
"""

import argparse
import fnmatch
import hashlib
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import venv
import xml.etree.ElementTree as xml

VERSION = "8.1.0"
SHA256 = "6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25"
NEEDS = ["pytest>=8,<10", "pytest-asyncio>=1,<2", "pytest-timeout>=2,<3", "cachetools", "numpy", "packaging", "xxhash", "hiredis"]
# the test files that talk to one server; the others test the library alone, a cluster, sentinels, TLS or modules
FILES = """client commands connection_pool cwe_404 encoding function hash keyspace_notifications lock monitor
multiprocessing pipeline pubsub scripting""".split()
MARKS = ["onlycluster", "redismod", "ssl", "cp_integration", "multidb_integration", "replica"]
ALLOW = "keys, flushall, flushdb, swapdb, config|set, config|resetstat, config|rewrite, save, bgsave, bgrewriteaof"

HERE = pathlib.Path(__file__).resolve().parent
WORK = HERE.parent.parent / "target" / "suites"


def prepare():
    """The unpacked package, and a Python that has what its suite needs."""
    WORK.mkdir(parents=True, exist_ok=True)
    python = WORK / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(WORK / "venv", with_pip=True)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    package = WORK / f"redis-{VERSION}.tar.gz"
    if not package.exists():
        subprocess.run([*pip, "download", "--no-binary", ":all:", "--no-deps", "-d", WORK, f"redis=={VERSION}"], check=True)
    if hashlib.sha256(package.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{package} is not the pinned package")
    if not (WORK / f"redis-{VERSION}").exists():
        with tarfile.open(package) as archive:
            archive.extractall(WORK)
    subprocess.run([*pip, "install", *NEEDS, package], check=True)
    return WORK / f"redis-{VERSION}", python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Servers:
    """Processes that end with this one."""

    def __init__(self, ringway):
        self.ringway, self.running = ringway, []

    def start(self, port, *command):
        log = open(WORK / f"{pathlib.Path(command[0]).name}-{port}.log", "w")
        self.running.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log))
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return port
            except OSError:
                time.sleep(0.1)
        sys.exit(f"{command[0]} does not listen: {log.name}")

    def redis(self):
        port = free_port()
        options = ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--dir", WORK]
        return self.start(port, "redis-server", "--port", port, "--bind", "127.0.0.1", *options)

    def proxy(self, nodes):
        """Ringway in front of so many servers; with none, a server alone."""
        if nodes == 0:
            return self.redis()
        port, admin = free_port(), free_port()
        lines = [f"listen: 127.0.0.1:{port}", f'admin: {{ listen: "127.0.0.1:{admin}" }}']
        lines += [f"commands: {{ allow: [{ALLOW}] }}", "nodes:"]
        lines += [f'  - {{ name: cache-{n}, address: "127.0.0.1:{self.redis()}" }}' for n in range(1, nodes + 1)]
        config = WORK / f"ringway-{nodes}.yaml"
        config.write_text("\n".join(lines) + "\n")
        return self.start(port, self.ringway, "serve", "--config", config)

    def stop(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.running.clear()


def run(source, python, port, protocol, report):
    """Each test that was not skipped with what went wrong, or None when it passed."""
    names = [f"{folder}/test_{name}.py" for name in FILES for folder in ("tests", "tests/test_asyncio")]
    command = [python, "-m", "pytest", *[name for name in names if (source / name).exists()]]
    command += ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "--tb=short", "--timeout=60", f"--junit-xml={report}"]
    command += ["-m", " and ".join(f"not {mark}" for mark in MARKS)]
    command += [f"--redis-url=redis://127.0.0.1:{port}/9", f"--protocol={protocol}"]
    with open(report.with_suffix(".log"), "w") as log:
        subprocess.run([str(word) for word in command], cwd=source, stdout=log, stderr=log, timeout=3600, check=False)
    found = {}
    for case in xml.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            wrong = [what for what in case if what.tag in ("failure", "error")]
            text = "\n".join(f"{what.get('message')}\n{what.text}" for what in wrong)
            found[f"{case.get('classname')}::{case.get('name')}"] = text if wrong else None
    return found


def exceptions():
    for line in (HERE / "exceptions.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            yield [field.strip() for field in line.split(" | ")]


def excused(name, text, nodes):
    """The reason why this test may fail, if there is one."""
    bare = re.sub(r"\[.*", "", name).split("::")[-1]
    for where, kind, pattern, reason in exceptions():
        if where == "any" or nodes > 1:
            if fnmatch.fnmatch(bare, pattern) if kind == "test" else pattern in text:
                return reason
    return None


def compare(plain, through, nodes, label):
    passed = [name for name, wrong in plain.items() if wrong is None]
    failed = {name: through.get(name, "did not run") for name in passed if through.get(name, "did not run") is not None}
    reasons, unexpected = {}, []
    for name, text in sorted(failed.items()):
        reason = excused(name, text, nodes)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            unexpected.append((name, text))
    print(f"{label}: {len(passed) - len(failed)} of {len(passed)} tests pass unchanged")
    for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1]):
        print(f"  {count:4} {reason}")
    for name, text in unexpected:
        print(f"FAILED {name}\n{text}")
    return not unexpected


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ringway", required=True, type=pathlib.Path)
    options.add_argument("--protocols", default="2,3")
    options.add_argument("--nodes", default="1,3")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    source, python = prepare()
    good, ringway = True, chosen.ringway.resolve()
    for protocol in chosen.protocols.split(","):
        results = {}
        for nodes in [0, *map(int, chosen.nodes.split(","))]:
            servers = Servers(ringway)
            try:
                report = WORK / f"redis-py-{nodes}-resp{protocol}.xml"
                results[nodes] = run(source, python, servers.proxy(nodes), protocol, report)
            finally:
                servers.stop()
            if nodes:
                label = f"redis-py {VERSION}, RESP{protocol}, {nodes} node{'s' if nodes > 1 else ''}"
                good &= compare(results[0], results[nodes], nodes, label)
    return 0 if good else 1


sys.exit(main())
