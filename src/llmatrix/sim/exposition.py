"""Prometheus' text format, written by hand: it is asked for twenty times a second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping


def labels(pairs: Mapping[str, str]) -> str:
    """Render label pairs without their braces."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in pairs.items())


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def sample(name: str, kind: str, about: str, series: Iterable[tuple[str, float]]) -> str:
    """Render one metric family: (rendered labels, value) for each series."""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for pairs, value in series:
        lines.append(f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


class Histogram:
    """Counts of observations by upper bound."""

    __slots__ = ("_ends", "_head", "_name", "_tail", "bounds", "counts", "total")

    def __init__(self, name: str, about: str, pairs: str, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._name = name
        self._head = f"# HELP {name} {about}\n# TYPE {name} histogram\n"
        comma = "," if pairs else ""
        ends = [*(repr(float(bound)) for bound in bounds), "+Inf"]
        self._ends = [f'{name}_bucket{{{pairs}{comma}le="{end}"}} ' for end in ends]
        self._tail = f"{{{pairs}}} " if pairs else " "

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def render(self) -> str:
        """Render as text."""
        lines = []
        running = 0
        for end, count in zip(self._ends, self.counts, strict=True):
            running += count
            lines.append(f"{end}{running}\n")
        lines.append(f"{self._name}_sum{self._tail}{self.total!r}\n")
        lines.append(f"{self._name}_count{self._tail}{running}\n")
        return self._head + "".join(lines)
