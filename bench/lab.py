#!/usr/bin/env python3
"""Ringway beside its peers: the same three redis-servers, the same client, one run.

Starts three real redis-servers, puts every contender that is installed in front of them in turn, drives it with
redis-benchmark and prints what a request costs: CPU microseconds of the proxy, throughput, latency, memory. The CPU
per request is the figure to steer by, and its ratio to a peer in the same run hardly depends on what else the machine
does. Writes latest.json, latest.md and latest.svg under docs/bench.

Contenders: ringway (target/release/ringway), floor (bench/floor), haproxy, nutcracker, envoy (or ENVOY=path), predixy
(or PREDIXY=path), and direct, a node without a proxy. Needs redis-server and redis-benchmark.

  lab.py                                   all workloads, three rounds, one thread
  lab.py --quick                           a look in two minutes; writes nothing unless --out is given
  lab.py --workloads get64-c50,get64-p16 --contenders ringway,floor,nutcracker
  lab.py --threads 2                       proxies with two threads
  lab.py --extra all                       also: scaling, memory of idle clients, bad neighbours

Exit code: 0 for a complete run, however slow the machine; 1 when something is broken; 2 for a bad command line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from labkit import chart, extras, report, rounds
from labkit.contenders import ROOT, Contender, all_contenders
from labkit.system import BrokenRun, allow_many_files, machine
from labkit.workloads import WORKLOADS, Workload

QUICK_WORKLOADS = ("get64-c50", "get64-p16", "mget10-c50", "get16k-c50")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", help="comma-separated names; default: all")
    parser.add_argument("--contenders", help="comma-separated names; default: all that are installed")
    parser.add_argument("--threads", type=int, default=1, help="threads of each proxy (default 1)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 3, with --quick 1)")
    parser.add_argument("--scale", type=float, help="factor on the number of requests (default 1, with --quick 0.3)")
    parser.add_argument("--quick", action="store_true", help="few workloads, one short round")
    parser.add_argument("--extra", default="", help=f"comma-separated: {', '.join(extras.EXTRAS)}, or all")
    parser.add_argument("--only-extra", action="store_true", help="leave the comparison out")
    parser.add_argument("--out", type=Path, help="folder of the reports (default docs/bench)")
    parser.add_argument("--ringway", help="command that starts Ringway, with {config} {port} {threads} {nodes} in it")
    return parser.parse_args()


def choose_workloads(arguments: argparse.Namespace) -> list[Workload]:
    names = [name for name in (arguments.workloads or "").split(",") if name]
    if not names and arguments.quick:
        names = list(QUICK_WORKLOADS)
    known = {workload.name for workload in WORKLOADS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"lab.py: no such workload: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [workload for workload in WORKLOADS if not names or workload.name in names]


def choose_contenders(arguments: argparse.Namespace) -> tuple[list[Contender], bool]:
    """The contenders that are installed, and whether a node is measured without a proxy."""
    everyone = all_contenders(arguments.ringway)
    named = [name for name in (arguments.contenders or "").split(",") if name]
    if unknown := [name for name in named if name not in everyone and name != rounds.DIRECT]:
        raise SystemExit(f"lab.py: no such contender: {', '.join(unknown)}")
    chosen = []
    for name in named or everyone:
        if name == rounds.DIRECT:
            continue
        if everyone[name].program() is not None:
            chosen.append(everyone[name])
        elif named or name in (report.OURS, "floor"):
            raise BrokenRun(f"{name} is not there; scripts/bench.sh builds Ringway and the floor")
        else:
            print(f"  {name}: not installed, left out", file=sys.stderr)
    return chosen, not named or rounds.DIRECT in named


def write(folder: Path, found: report.Report, sections: list[extras.Section]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {**found.as_json(), "extras": {section.name: section.data for section in sections}}
    (folder / "latest.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    (folder / "latest.md").write_text(report.as_markdown(found, [section.markdown for section in sections]))
    if found.figures:
        (folder / "latest.svg").write_text(chart.draw(found))
    print(f"written: {folder}/latest.json, latest.md, latest.svg")


def run(arguments: argparse.Namespace) -> None:
    allow_many_files()
    workloads = choose_workloads(arguments)
    contenders, direct = choose_contenders(arguments)
    wanted = extras.choose(arguments.extra)
    count = arguments.rounds or (1 if arguments.quick else 3)
    scale = arguments.scale or (0.3 if arguments.quick else 1.0)
    samples = []
    if not arguments.only_extra:
        samples = rounds.compare(contenders, workloads, count, arguments.threads, scale, direct)
    about = {
        "date": datetime.date.today().isoformat(),
        "rounds": count,
        "threads": arguments.threads,
        "versions": {one.name: one.version() for one in contenders if one.version()},
        **machine(),
    }
    found = report.summarise(samples, workloads, about)
    if samples:
        print(report.as_text(found))
    sections = [extras.EXTRAS[name](contenders, scale) for name in wanted]
    for section in sections:
        print(f"\n{section.text}")
    folder = arguments.out or (None if arguments.quick or arguments.only_extra else ROOT / "docs" / "bench")
    if folder is not None:
        write(folder, found, sections)


def end_in_order(number: int, _: FrameType | None) -> None:
    """A lab that is told to end ends the processes it has started first."""
    raise SystemExit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, end_in_order)
    try:
        run(parse_arguments())
    except BrokenRun as broken:
        print(f"lab.py: broken: {broken}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
