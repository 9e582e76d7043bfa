#!/usr/bin/env python3
"""Redis's own test suite, unchanged, against Ringway: test by test, held against what is expected.

The suite can run against a server that is already there. It does so four times:

  plain, plain-cluster   one redis-server alone: what passes here is what counts
  one                    one node behind Ringway: an application's Redis is replaced by Ringway
  three                  three nodes, in the suite's own mode for Redis Cluster (beside plain-cluster)

Each unit has servers of its own. What does not pass must stand in expected.tsv with a reason; anything else makes the
exit code 1, as does a listed test that passes after all.

  run.py --suite DIR --ringway PROGRAM [--kinds one three] [--units unit/multi …] [--write docs/redis-suite.md]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNITS = """
unit/type/string unit/type/incr unit/type/list unit/type/list-2 unit/type/list-3 unit/type/set unit/type/zset
unit/type/hash unit/type/stream unit/type/stream-cgroups unit/dump unit/auth unit/protocol unit/keyspace unit/scan
unit/info unit/info-command unit/sort unit/expire unit/other unit/multi unit/quit unit/acl unit/acl-v2
unit/latency-monitor unit/pubsub unit/pubsubshard unit/slowlog unit/scripting unit/functions unit/maxmemory
unit/introspection unit/introspection-2 unit/limits unit/obuf-limits unit/bitops unit/bitfield unit/geo
unit/memefficiency unit/hyperloglog unit/lazyfree unit/wait unit/pause unit/querybuf unit/pendingquerybuf unit/tracking
unit/networking unit/client-eviction unit/violations unit/replybufsize unit/cluster-scripting
""".split()
#: Kind, and the kind that it is measured by.
BESIDE = {"one": "plain", "three": "plain-cluster"}
#: What the suite asks of a server that it looks into, which a proxy in front of several is not.
TAGS = "-needs:debug -needs:repl -needs:pfdebug"
ALLOW = (
    "keys flushall flushdb swapdb config|set config|resetstat config|rewrite save bgsave bgrewriteaof monitor "
    "acl|setuser acl|deluser acl|save"
).split()
#: How long the suite may be silent, in seconds: its slowest tests take half of that on a slow machine.
PATIENCE = 150
#: How long one unit may take in all.
LONGEST = 1200
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STATUS = re.compile(r"^\[(ok|err|ignore|exception|hung|died)\]: (.*)$")
#: Bytes whose values differ from run to run, in names that the suite makes up.
TIME = re.compile(r" \(\d+ ms\)$")


# ---- servers ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(400):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as link:
                link.sendall(b"PING\r\n")
                if link.recv(64).startswith(b"+PONG"):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


class Rig:
    """Servers, and Ringway in front of them unless it is left out, in a directory of their own."""

    def __init__(self, kind: str, ringway: str) -> None:
        self.directory = tempfile.mkdtemp(prefix="ringway-redis-suite-")
        self.processes: list[subprocess.Popen] = []
        try:
            nodes = [self.server() for _ in range(3 if kind == "three" else 1)]
            self.port = self.proxy(ringway, nodes) if kind in BESIDE else nodes[0]
        except BaseException:
            self.stop()
            raise

    def start(self, command: list[str], name: str) -> None:
        with open(os.path.join(self.directory, name + ".log"), "w", encoding="utf-8") as log:
            self.processes.append(subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log))

    def server(self) -> int:
        port = free_port()
        folder = os.path.join(self.directory, str(port))
        os.mkdir(folder)
        options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": folder, "enable-debug-command": "yes",
                   "enable-protected-configs": "yes"}
        command = ["redis-server"]
        for name, value in options.items():
            command += ["--" + name, str(value)]
        self.start(command, f"node-{port}")
        wait_for(port)
        return port

    def proxy(self, ringway: str, nodes: list[int]) -> int:
        port = free_port()
        lines = [f"listen: 127.0.0.1:{port}", "threads: 1", "admin: { listen: '127.0.0.1:0' }",
                 "timeouts: { operation: 60s }", "multi_key: emulate",
                 f"commands: {{ allow: [{', '.join(repr(name) for name in ALLOW)}] }}", "nodes:"]
        lines += [f"  - {{ name: cache-{at}, address: '127.0.0.1:{node}' }}" for at, node in enumerate(nodes, 1)]
        config = Path(self.directory, "ringway.yaml")
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.start([ringway, "serve", "--config", str(config)], "ringway")
        wait_for(port)
        return port

    def alive(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


# ---- the suite --------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of the tests of one unit."""

    #: Name (a second test of that name has a number) to ok, err or hung.
    tests: dict[str, str] = field(default_factory=dict)
    #: Why, for what is not ok.
    why: dict[str, str] = field(default_factory=dict)
    #: Tests that the suite leaves out by their tags.
    ignored: int = 0
    #: Something ended that must not.
    died: bool = False


def read(output: str) -> tuple[Outcome, str | None]:
    """Reads the suite's words; also returns the test in which it stood still, if it did."""
    outcome, seen, last, hung, over = Outcome(), Counter(), None, None, False
    for line in output.splitlines():
        line = COLOUR.sub("", line)
        if line.strip() == "The End":
            over = True
        if over and not line.startswith(("[hung]", "[died]")):
            continue
        if state := re.search(r"=> \(IN PROGRESS\) (.*)$", line):
            hung = state.group(1)
        match = STATUS.match(line)
        if match and match.group(1) in ("ignore", "died", "hung"):
            outcome.ignored += match.group(1) == "ignore"
            outcome.died |= match.group(1) == "died"
            if match.group(1) == "hung":
                outcome.tests[match.group(2)] = "hung"
            last = None
        elif match:
            name = TIME.sub("", re.sub(r" in tests/unit/\S+\.tcl$", "", match.group(2))).strip()
            seen[name] += 1
            last = name if seen[name] == 1 else f"{name} #{seen[name]}"
            outcome.tests[last] = "ok" if match.group(1) == "ok" else "err"
        elif line.startswith("["):
            last = None
        elif last and outcome.tests[last] != "ok":
            outcome.why[last] = outcome.why.get(last, "") + line + "\n"
    return outcome, hung


def suite(kind: str, directory: str, unit: str, port: int, skip: list[str]) -> str:
    base = free_port() % 20000 + 20000
    command = ["tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1", "--port", str(port), "--single", unit,
               "--durable", "--baseport", str(base), "--timeout", str(PATIENCE), "--tags", TAGS]
    if kind in ("three", "plain-cluster"):
        command.append("--cluster-mode")
    for name in skip:
        command += ["--skiptest", name]
    run = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           start_new_session=True)
    try:
        output = run.communicate(timeout=LONGEST)[0]
    except subprocess.TimeoutExpired:
        output = b""
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            output = run.communicate()[0]
    return output.decode("utf-8", "replace")


def run_unit(kind: str, given: argparse.Namespace, unit: str, skip: list[str]) -> Outcome:
    """Runs a unit; a test in which it stands still is left out the next time."""
    kept = Path(given.keep, f"{kind}-{unit.replace('/', '_')}.txt")
    if kept.exists() and (kind not in BESIDE or given.reuse):
        # the plain server does not change from run to run
        return read(kept.read_text(encoding="utf-8"))[0]
    hung: list[str] = []
    while True:
        rig = Rig(kind, given.ringway)
        try:
            output = suite(kind, given.suite, unit, rig.port, skip + hung)
            died = not rig.alive()
        finally:
            rig.stop()
        stood_still = read(output)[1]
        if stood_still and stood_still not in hung and len(hung) < 8:
            hung.append(stood_still)
            continue
        output += "".join(f"\n[hung]: {name}" for name in hung) + ("\n[died]: a process" if died else "")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(output, encoding="utf-8")
        return read(output)[0]


# ---- what is expected -------------------------------------------------------------------------------------------


@dataclass
class Exception_:
    """A test that does not pass, and why."""

    kinds: list[str]
    unit: str
    #: fails; skip (it would stand still or spoil those behind it); may (it passes by luck).
    how: str
    reason: str
    name: str


def expected() -> tuple[dict[str, str], list[Exception_]]:
    reasons, exceptions = {}, []
    for number, line in enumerate((HERE / "expected.tsv").read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        parts = line.split("\t")
        if parts[0] == "reason" and len(parts) == 3:
            reasons[parts[1]] = parts[2]
        elif len(parts) == 5 and parts[3] in reasons and parts[2] in ("fails", "skip", "may"):
            exceptions.append(Exception_(parts[0].split("+"), parts[1], parts[2], parts[3], parts[4]))
        else:
            raise SystemExit(f"expected.tsv:{number}: not understood")
    return reasons, exceptions


@dataclass
class Verdict:
    """One unit of one kind beside the plain server."""

    unit: str
    total: int
    passed: int
    #: What is wrong with the expectations.
    surprises: list[str]
    #: Tests that did not pass, by reason.
    reasons: Counter


def judge(kind: str, unit: str, plain: Outcome, ours: Outcome, listed: list[Exception_]) -> Verdict:
    known = {one.name: one for one in listed}
    counted = [name for name, status in plain.tests.items() if status == "ok"]
    verdict = Verdict(unit, len(counted), 0, [], Counter())
    if ours.died:
        verdict.surprises.append(f"{kind} {unit}: a process has ended")
    for name in counted:
        status = ours.tests.get(name, "missing")
        one = known.get(name) or known.get("*")
        if status == "ok":
            verdict.passed += 1
            if one and one.how == "fails" and one.name == name:
                verdict.surprises.append(f"{kind} {unit}: passes, take it off the list: {name}")
        elif one:
            verdict.reasons[one.reason] += 1
        else:
            why = " / ".join(line for line in ours.why.get(name, "").splitlines() if line.strip())[:300]
            verdict.surprises.append(f"{kind} {unit}: {status}: {name}: {why}")
    # outside of any test: what stands between them has failed
    for name in sorted(set(ours.tests) - set(plain.tests)):
        if ours.tests[name] != "ok" and name not in known and "*" not in known:
            verdict.surprises.append(f"{kind} {unit}: outside of a test: {name}")
    return verdict


def check(given: argparse.Namespace) -> dict[str, list[Verdict]]:
    _, exceptions = expected()
    verdicts: dict[str, list[Verdict]] = {}
    for kind in given.kinds:
        verdicts[kind] = []
        for unit in given.units:
            listed = [one for one in exceptions if kind in one.kinds and one.unit == unit]
            began = time.monotonic()
            plain = run_unit(BESIDE[kind], given, unit, [])
            skip = [one.name for one in listed if one.how == "skip" and one.name != "*"]
            left_out = any(one.how == "skip" and one.name == "*" for one in listed)
            ours = Outcome() if left_out else run_unit(kind, given, unit, skip)
            verdict = judge(kind, unit, plain, ours, listed)
            verdicts[kind].append(verdict)
            print(f"{kind:5} {unit:26} {verdict.passed:4} of {verdict.total:4}  {time.monotonic() - began:6.1f} s",
                  flush=True)
            for line in verdict.surprises:
                print(f"      {line}", flush=True)
    return verdicts


# ---- the page ---------------------------------------------------------------------------------------------------


def figure(verdicts: list[Verdict]) -> tuple[int, int]:
    return sum(one.passed for one in verdicts), sum(one.total for one in verdicts)


def page(verdicts: dict[str, list[Verdict]]) -> str:
    reasons, exceptions = expected()
    one, three = figure(verdicts["one"]), figure(verdicts["three"])
    lines = [(HERE / "page.md").read_text(encoding="utf-8").format(
        one=one[0], one_total=one[1], three=three[0], three_total=three[1])]
    lines += ["| unit | one node | three nodes |", "|---|---|---|"]
    for here, there in zip(verdicts["one"], verdicts["three"]):
        if here.total or there.total:
            lines.append(f"| {here.unit} | {here.passed} of {here.total} | {there.passed} of {there.total} |")
    lines += [f"| **all** | **{one[0]} of {one[1]}** | **{three[0]} of {three[1]}** |", ""]
    lines += ["## Why tests do not pass", "", "| tests: one node | three | why |", "|---|---|---|"]
    counts = {kind: sum((verdict.reasons for verdict in verdicts[kind]), Counter()) for kind in BESIDE}
    for code, text in reasons.items():
        if any(counts[kind][code] for kind in BESIDE):
            lines.append(f"| {counts['one'][code]} | {counts['three'][code]} | {text} |")
    lines += ["", "Every test by its name: `tests/redis_suite/expected.tsv`.", ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", required=True, help="redis-7.0.15, unpacked")
    parser.add_argument("--ringway", required=True, help="the program")
    parser.add_argument("--kinds", nargs="*", choices=sorted(BESIDE), default=list(BESIDE))
    parser.add_argument("--units", nargs="*", default=UNITS)
    parser.add_argument("--keep", required=True, help="a directory for the suite's own words; those of the plain server are used again")
    parser.add_argument("--reuse", action="store_true", help="use whatever words are kept, also those of Ringway")
    parser.add_argument("--write", help="the page to write when everything was run and is as expected")
    given = parser.parse_args()
    given.ringway = os.path.abspath(given.ringway)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    verdicts = check(given)
    for kind, found in verdicts.items():
        passed, total = figure(found)
        print(f"{kind}: {passed} of {total} tests of Redis's own suite pass")
    surprises = sum(len(verdict.surprises) for found in verdicts.values() for verdict in found)
    if surprises:
        print(f"{surprises} not as expected")
        return 1
    if given.write and given.units == UNITS and set(given.kinds) == set(BESIDE):
        Path(given.write).write_text(page(verdicts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
