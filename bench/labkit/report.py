"""From samples to figures: medians, ratios, and the three forms they are shown in."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from .rounds import DIRECT, Sample
from .workloads import WORKLOADS, Workload

OURS = "ringway"
#: Who Ringway's cost is divided by, in the order of the columns.
REFERENCES = ("floor", "nutcracker", "envoy", "predixy")


@dataclass(frozen=True)
class Figure:
    """Medians over the rounds for one contender under one workload."""

    workload: str
    contender: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    resident_mib: float


@dataclass(frozen=True)
class Ratio:
    """Ringway's CPU per request through another's: the median of the rounds' ratios."""

    workload: str
    reference: str
    ratio: float
    goal: float | None

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.ratio <= self.goal


@dataclass(frozen=True)
class Report:
    """Everything a run has found out."""

    about: dict[str, Any]
    figures: list[Figure]
    ratios: list[Ratio]

    def as_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "figures": [asdict(figure) for figure in self.figures],
            "ratios": [{**asdict(ratio), "met": ratio.met} for ratio in self.ratios],
        }


def summarise(samples: list[Sample], workloads: list[Workload], about: dict[str, Any]) -> Report:
    groups: dict[tuple[str, str], dict[int, Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.workload, sample.contender), {})[sample.round] = sample
    names = list(dict.fromkeys(sample.contender for sample in samples))
    first = {DIRECT: 0, "floor": 1, OURS: 2}
    order = sorted(names, key=lambda name: (first.get(name, len(first)), name))
    figures, ratios = [], []
    for workload in workloads:
        for name in order:
            if (group := groups.get((workload.name, name))) is not None:
                figures.append(_figure(list(group.values())))
        ours = groups.get((workload.name, OURS), {})
        for reference in REFERENCES:
            theirs = groups.get((workload.name, reference), {})
            pairs = [ours[number].cpu_us / theirs[number].cpu_us for number in ours if number in theirs]
            if pairs:
                goal = workload.goals.get(reference)
                ratios.append(Ratio(workload.name, reference, statistics.median(pairs), goal))
    return Report(about, figures, ratios)


def _figure(samples: list[Sample]) -> Figure:
    def median(field: str) -> float:
        return float(statistics.median(getattr(sample, field) for sample in samples))

    sample = samples[0]
    return Figure(
        sample.workload,
        sample.contender,
        median("requests_per_second"),
        median("p50_ms"),
        median("p99_ms"),
        median("cpu_us"),
        median("resident_kib") / 1024,
    )


def title_of(name: str) -> str:
    return next((workload.title for workload in WORKLOADS if workload.name == name), name)


def _mark(ratio: Ratio) -> str:
    if ratio.goal is None:
        return f"{ratio.ratio:.2f}"
    sign = "≤" if ratio.met else ">"
    return f"{ratio.ratio:.2f} ({sign} {ratio.goal:.2f})"


def ratio_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """The table of ratios: header and rows."""
    present = [name for name in REFERENCES if any(ratio.reference == name for ratio in report.ratios)]
    rows = []
    for workload in dict.fromkeys(ratio.workload for ratio in report.ratios):
        found = {ratio.reference: ratio for ratio in report.ratios if ratio.workload == workload}
        rows.append([title_of(workload), *(_mark(found[name]) if name in found else "–" for name in present)])
    return ["workload", *(f"÷ {name}" for name in present)], rows


def figure_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """The table of all figures: header and rows."""
    rows = []
    for figure in report.figures:
        through = figure.contender != DIRECT
        rows.append(
            [
                title_of(figure.workload),
                figure.contender,
                f"{figure.cpu_us:.2f}" if through else "–",
                f"{figure.requests_per_second:,.0f}",
                f"{figure.p50_ms:.3f}",
                f"{figure.p99_ms:.3f}",
                f"{figure.resident_mib:.1f}" if through else "–",
            ]
        )
    return ["workload", "contender", "CPU µs/req", "req/s", "p50 ms", "p99 ms", "RSS MiB"], rows


def markdown_table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    align = [":--" if number < left else "--:" for number in range(len(header))]
    lines = [header, align, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def text_table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(line(cells) for cells in [header, *rows])


def as_markdown(report: Report, extras: list[str]) -> str:
    about = report.about
    versions = "".join(f"- {name}: {version}\n" for name, version in about["versions"].items())
    parts = [
        "# Ringway beside its peers\n",
        f"Written by `make bench` on {about['date']}: {about['rounds']} rounds in random order, medians; proxies with "
        f"{about['threads']} thread(s) in front of 3 redis-servers, driven by redis-benchmark on the same machine "
        f"({about['cores']} cores, {about['processor']}, Linux {about['kernel']}).\n",
        "![CPU per request](latest.svg)\n",
        "## CPU per request: Ringway through the other, in the same run\n",
        "Lower is better; in brackets the goal and whether it is met (≤) or not (>). The floor is a bare epoll loop "
        "that answers each read at once and has no node behind it (`bench/floor`).\n",
        markdown_table(*ratio_rows(report)) + "\n",
        "## All figures\n",
        markdown_table(*figure_rows(report), left=2) + "\n",
        *extras,
        "## Versions\n",
        versions,
    ]
    return "\n".join(parts)


def as_text(report: Report) -> str:
    return "\n\n".join(
        [
            text_table(*figure_rows(report), left=2),
            "Ringway's CPU per request through the other's (goal in brackets):\n" + text_table(*ratio_rows(report)),
        ]
    )
