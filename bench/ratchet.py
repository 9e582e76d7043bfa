#!/usr/bin/env python3
"""Instructions per request of the pure parts, counted by callgrind and held against the committed numbers.

Instructions hardly depend on the machine, so that a step that has become dearer is seen where a clock would only see
noise. Each step of proxy/benches/steps runs twice under callgrind with different numbers of runs; the difference,
divided by the requests in it, is what one request costs. A step more than 5 % (and more than two instructions) above
docs/bench/instructions.json fails; one as far below asks for `--write`, so that the gain is kept.

  ratchet.py            compare; exit code 1 when a step has become dearer
  ratchet.py --write    measure and write the numbers

The numbers belong to one compiler release and one kind of processor (valgrind's view of it); with another one they are
shown and not judged. Without valgrind (apt-get install valgrind) nothing can be said: exit code 0 and a line that says
so, or 1 with --require.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = ROOT / "docs" / "bench" / "instructions.json"
TOLERANCE = 0.05
#: A change of so few instructions is never judged, however short the step.
LEAST = 2.0
FEW, MANY = 500, 2500


class Failed(Exception):
    """A tool did not do what it should."""


def output(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def build() -> str:
    """Builds the runner and returns its path."""
    command = ["cargo", "bench", "--package", "ringway-proxy", "--features", "bench", "--bench", "instructions"]
    for line in output(*command, "--no-run", "--message-format", "json").splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "instructions":
            return str(message["executable"])
    raise Failed("cargo names no executable for the bench 'instructions'")


def collected(runner: str, step: str, runs: int) -> int:
    """Instructions of one whole run of the runner."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", runner, step, str(runs)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise Failed(f"callgrind, {step}: {done.stderr.strip()[-2000:]}")
    return int(found.group(1))


def measure(runner: str) -> dict[str, float]:
    """Instructions per request of every step."""
    numbers = {}
    for line in output(runner).splitlines():
        step, requests = line.split("\t")
        spent = collected(runner, step, MANY) - collected(runner, step, FEW)
        numbers[step] = round(spent / (MANY - FEW) / int(requests), 1)
        print(f"  {step:<28} {numbers[step]:>9.1f}", file=sys.stderr, flush=True)
    return numbers


def toolchain() -> str:
    """What the numbers depend on besides the source: `rustc 1.95 x86_64`."""
    version = output("rustc", "--version").split()[1].rsplit(".", 1)[0]
    return f"rustc {version} {platform.machine()}"


def judge(before: dict[str, float], now: dict[str, float]) -> tuple[list[str], list[str]]:
    """The steps that became dearer and those that became cheaper, in words."""
    dearer: list[str] = []
    cheaper: list[str] = []
    for step, count in now.items():
        known = before.get(step)
        if known is None:
            dearer.append(f"{step}: not among the committed numbers; run bench/ratchet.py --write")
            continue
        if abs(count - known) <= max(known * TOLERANCE, LEAST):
            continue
        change = (count / known - 1) * 100
        (dearer if count > known else cheaper).append(f"{step}: {known:.1f} -> {count:.1f} ({change:+.1f} %)")
    return dearer, cheaper


def run(arguments: argparse.Namespace) -> int:
    if shutil.which("valgrind") is None:
        print("ratchet: valgrind is not installed; instructions were not counted (apt-get install valgrind)")
        return 1 if arguments.require else 0
    now = measure(build())
    here = toolchain()
    if arguments.write:
        NUMBERS.parent.mkdir(parents=True, exist_ok=True)
        NUMBERS.write_text(json.dumps({"toolchain": here, "instructions_per_request": now}, indent=1) + "\n")
        print(f"ratchet: {len(now)} numbers written to {NUMBERS.relative_to(ROOT)}")
        return 0
    committed = json.loads(NUMBERS.read_text())
    dearer, cheaper = judge(committed["instructions_per_request"], now)
    for line in dearer:
        print(f"ratchet: dearer: {line}")
    for line in cheaper:
        print(f"ratchet: cheaper, keep it with bench/ratchet.py --write: {line}")
    if committed["toolchain"] != here:
        print(f"ratchet: the numbers are of {committed['toolchain']}, this is {here}: shown, not judged")
        return 0
    print(f"ratchet: {len(now)} steps, {len(dearer)} dearer, {len(cheaper)} cheaper")
    return 1 if dearer else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the numbers instead of comparing")
    parser.add_argument("--require", action="store_true", help="fail when valgrind is not installed")
    try:
        return run(parser.parse_args())
    except (Failed, OSError, KeyError, ValueError) as failed:
        print(f"ratchet: broken: {failed}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
