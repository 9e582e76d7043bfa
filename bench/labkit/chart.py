"""The chart: CPU per request, one panel per workload, as SVG without a library.

Colours are from Okabe and Ito's palette, which colour-blind readers can tell apart; every bar also carries its
contender's name and its value, so that nothing depends on colour.
"""

from __future__ import annotations

from html import escape

from .report import OURS, Figure, Report, title_of
from .rounds import DIRECT

COLOURS = {
    OURS: "#0072B2",
    "floor": "#7F7F7F",
    "haproxy": "#F0E442",
    "nutcracker": "#E69F00",
    "envoy": "#CC79A7",
    "predixy": "#009E73",
}
COLUMNS = 2
PANEL_WIDTH, BAR, GAP, TITLE = 520, 18, 6, 34
NAME_WIDTH, VALUE_WIDTH, MARGIN = 92, 70, 24


def draw(report: Report) -> str:
    panels = [
        [figure for figure in report.figures if figure.workload == workload and figure.contender != DIRECT]
        for workload in dict.fromkeys(figure.workload for figure in report.figures)
    ]
    panel_height = TITLE + max((len(panel) for panel in panels), default=0) * (BAR + GAP) + 20
    rows = -(-len(panels) // COLUMNS)
    width = MARGIN * 2 + COLUMNS * PANEL_WIDTH
    height = MARGIN * 2 + 62 + rows * panel_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>CPU microseconds per request, Ringway and its peers</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(MARGIN, MARGIN + 14, "CPU per request in microseconds; shorter is better", size=19, weight=600),
        _text(MARGIN, MARGIN + 38, _subtitle(report), size=12.5, colour="#444444"),
    ]
    for number, panel in enumerate(panels):
        x = MARGIN + number % COLUMNS * PANEL_WIDTH
        y = MARGIN + 62 + number // COLUMNS * panel_height
        parts.append(_panel(panel, x, y))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _subtitle(report: Report) -> str:
    about = report.about
    return (
        f"{about['threads']} thread(s), medians of {about['rounds']} rounds, 3 nodes and the client on the same "
        f"{about['cores']} cores; dashed line: the kernel's floor"
    )


def _panel(panel: list[Figure], x: float, y: float) -> str:
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH - 16
    most = max(figure.cpu_us for figure in panel)
    top = y + TITLE
    parts = [_text(x, y + 20, title_of(panel[0].workload), size=14, weight=600)]
    ordered = sorted(panel, key=lambda figure: figure.cpu_us)
    for number, figure in enumerate(ordered):
        bar_y = top + number * (BAR + GAP)
        length = max(1.0, figure.cpu_us / most * room)
        weight = 700 if figure.contender == OURS else 400
        parts.append(_text(x + NAME_WIDTH - 8, bar_y + 13, figure.contender, weight=weight, anchor="end"))
        parts.append(
            f'<rect x="{x + NAME_WIDTH}" y="{bar_y}" width="{length:.1f}" height="{BAR}" rx="2" '
            f'fill="{COLOURS.get(figure.contender, "#56B4E9")}" stroke="#333333" stroke-width="0.4"/>'
        )
        parts.append(_text(x + NAME_WIDTH + length + 6, bar_y + 13, f"{figure.cpu_us:.2f}", weight=weight))
    floor = next((figure.cpu_us for figure in panel if figure.contender == "floor"), None)
    if floor is not None:
        line_x = x + NAME_WIDTH + floor / most * room
        bottom = top + len(panel) * (BAR + GAP) - GAP + 4
        parts.append(
            f'<line x1="{line_x:.1f}" y1="{top - 4}" x2="{line_x:.1f}" y2="{bottom}" stroke="#333333" '
            'stroke-width="1" stroke-dasharray="4 3"/>'
        )
    return "\n".join(parts)


def _text(
    x: float,
    y: float,
    content: str,
    size: float = 13,
    weight: int = 400,
    anchor: str = "start",
    colour: str = "#111111",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(content)}</text>'
    )
