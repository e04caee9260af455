"""Whole factorials of plain levels: what Tekton's own matrix params can say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmatrix.engines.tekton.shown import replicate, safe
from llmatrix.plan.trial import Trial

REPLICATE: Final = "replicate"
"""What a pick names beside the factors' paths: which replicate, as plans write it (``1.2``)."""
_TAKEN: Final = frozenset({"trial", "orders", "treatment"})


@dataclass(frozen=True, slots=True)
class Factorial:
    """Trials that are every combination of some levels, once.

    Attributes:
        picks: name of the param and path of the factor, in the file's order; the replicate last,
            where there are several.
        levels: of each, in the order in which they are met.
    """

    picks: tuple[tuple[str, str], ...]
    levels: tuple[tuple[str, ...], ...]

    def params(self) -> list[dict[str, object]]:
        """Give the params of a native matrix."""
        return [
            {"name": name, "value": list(levels)}
            for (name, _), levels in zip(self.picks, self.levels, strict=True)
        ]


def factorial(trials: Sequence[Trial], limit: int) -> Factorial | None:
    """Recognise a whole factorial of safe levels, of at most ``limit`` combinations."""
    if not 1 < len(trials) <= limit:
        return None
    rows = [_row(trial) for trial in trials]
    paths = tuple(rows[0])
    if any(tuple(row) != paths for row in rows):
        return None
    levels = [tuple(dict.fromkeys(row[path] for row in rows)) for path in paths]
    if len(levels[-1]) == 1:  # one replicate is none
        paths, levels = paths[:-1], levels[:-1]
    whole = math.prod(map(len, levels)) == len(rows) == len({tuple(row.values()) for row in rows})
    names = [param_name(path) for path in paths]
    distinct = len({name.lower() for name in names}) == len(names) and not _TAKEN & set(names)
    if not whole or not distinct or not all(safe(label) for each in levels for label in each):
        return None
    return Factorial(tuple(zip(names, paths, strict=True)), tuple(levels))


def _row(trial: Trial) -> dict[str, str]:
    return {**trial.levels, REPLICATE: replicate(trial)}


def param_name(path: str) -> str:
    """Name a param for a factor; dots would need another way of writing the reference."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", path)
