"""Measurements beside the table: scaling over threads, idle clients, bad neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contenders import Contender


@dataclass(frozen=True)
class Section:
    """One measurement, ready to be shown."""

    name: str
    data: list[dict[str, Any]]
    text: str
    markdown: str


EXTRAS: dict[str, Callable[[list[Contender], float], Section]] = {}


def choose(text: str) -> list[str]:
    return list(EXTRAS) if text == "all" else [name for name in text.split(",") if name]
