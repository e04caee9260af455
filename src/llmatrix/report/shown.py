"""How metrics and levels are shown: label, unit, which way is better, and numbers as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llmatrix.analysis.definitions import METRICS
from llmatrix.analysis.replicates import Estimate

WITHHELD: Final = "\u2013"
"""Stands where a figure was withheld or not measured."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A metric as people read it.

    Attributes:
        name: as in the record.
        label: short, for heads of columns and axes.
        unit: as written after a number; empty for a ratio.
        lower: whether lower is better; None where neither is.
        key: whether it belongs into a short table.
        definition: one sentence; empty for a metric that nobody declares.
    """

    name: str
    label: str
    unit: str
    lower: bool | None
    key: bool = False
    definition: str = ""

    @property
    def title(self) -> str:
        """Give the label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


_SHORT: Final = {
    **{
        f"{name}_ms_{statistic}": f"{label} {statistic}"
        for name, label in {
            "ttft": "TTFT",
            "itl": "ITL",
            "tpot": "TPOT",
            "e2e": "E2E",
            "ttft_from_send": "TTFT from send",
        }.items()
        for statistic in ("p50", "p90", "p99", "mean")
    },
    "output_tokens_per_s": "Output",
    "requests_per_s": "Requests",
    "prefix_cache_hit_ratio": "Prefix hits",
    "output_tokens_per_s_per_accelerator": "Output per accelerator",
    "output_tokens_per_s_per_user": "Output per user",
    "input_tokens_per_s": "Input",
    "concurrency_mean": "In flight",
    "server_share_max": "Busiest replica",
}
"""Short labels, in the order of reports."""
_SHORT_UNITS: Final = {"tokens/s": "tok/s", "1/s": "req/s"}
_KEY: Final = {
    "ttft_ms_p50",
    "ttft_ms_p90",
    "ttft_ms_p99",
    "itl_ms_p50",
    "itl_ms_p99",
    "e2e_ms_p50",
    "e2e_ms_p99",
    "output_tokens_per_s",
    "requests_per_s",
    "prefix_cache_hit_ratio",
}


def shown_metrics(names: Iterable[str]) -> list[Shown]:
    """Give how to show each metric of ``names``: those of the short labels first."""
    every = dict.fromkeys(names)
    first = [name for name in _SHORT if name in every]
    return [_shown(name) for name in [*first, *(n for n in every if n not in _SHORT)]]


def _shown(name: str) -> Shown:
    declared = METRICS.get(name)
    if declared is None:
        return _derived(name)
    return Shown(
        name=name,
        label=_SHORT.get(name, declared.title),
        unit=_SHORT_UNITS.get(declared.unit, declared.unit),
        lower={"lower": True, "higher": False}.get(declared.better),
        key=name in _KEY,
        definition=declared.definition,
    )


_UNITS: Final = [
    (r"_tokens_per_s$", "tok/s"),
    (r"_per_s$", "/s"),
    (r"_ms(?=_|$)", "ms"),
    (r"_s$", "s"),
    (r"_bytes$", "B"),
]


def _derived(name: str) -> Shown:
    """Read a metric that nobody declares off its name, which carries its unit."""
    label, unit = name, ""
    for pattern, found in _UNITS:
        if re.search(pattern, name):
            label, unit = re.sub(pattern, "", name), found
            break
    words = _SHORT.get(name) or label.replace("_", " ").strip().capitalize()
    lower = True if unit in {"ms", "s"} else False if unit.endswith("/s") else None
    return Shown(name, words, unit, lower, key=name in _KEY)


def number(value: float | None, *, like: float | None = None) -> str:
    """Write a number with three significant digits, thousands set apart.

    Args:
        value: None is written as a dash.
        like: a number whose decimals are to be used, so that ``31.2 ± 0.4`` lines up.
    """
    if value is None or not math.isfinite(value):
        return WITHHELD
    return f"{value:,.{_decimals(value if like is None else like)}f}"


def estimate_text(found: Estimate) -> str:
    """Write an estimate: ``31.2 ± 0.4``, or ``31.2`` where there is no interval."""
    if found.mean is None:
        return WITHHELD
    if found.half_width is None:
        return number(found.mean)
    return f"{number(found.mean)} ± {number(found.half_width, like=found.mean)}"


def duration(seconds: float) -> str:
    """Write a duration as people say it: ``850 ms``, ``12.3 s``, ``4 min 5 s``, ``2 h 3 min``."""
    minute, hour = 60, 3600
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < minute:
        return f"{seconds:.1f} s"
    if seconds < hour:
        return f"{int(seconds // minute)} min {int(seconds % minute)} s"
    return f"{int(seconds // hour)} h {int(seconds % hour // minute)} min"


def plain(text: str) -> str:
    """Replace control characters, which could steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\ufffd", text)


def short_paths(paths: Iterable[str]) -> dict[str, str]:
    """Give each dotted path's last parts, as few as keep the paths apart."""
    remaining = list(paths)
    short: dict[str, str] = {}
    for path in remaining:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            tail = ".".join(parts[-count:])
            rivals = [p for p in remaining if p == tail or p.endswith(f".{tail}")]
            if len(rivals) == 1 or count == len(parts):
                short[path] = tail
                break
    return short


def natural(label: str | None) -> tuple[int, float, str]:
    """Give the sorting key of a level: numbers by size, then texts, then what is absent."""
    if label is None:
        return (2, 0.0, "")
    try:
        value = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (0, value, label) if math.isfinite(value) else (1, 0.0, label)


def _decimals(value: float) -> int:
    digits = 3
    if value == 0:
        return 0
    return max(0, min(6, digits - 1 - math.floor(math.log10(abs(value)))))
