"""The trials that ended, as a table that fits whatever terminal there is: one line a trial."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from llmatrix.cli.wording import verdict
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Failure, Record

Ended = tuple[Trial, Record | Failure]

Figure = tuple[str, str, str]
"""Heading, metric and unit."""

FIGURES: Final[tuple[tuple[Figure, ...], ...]] = (
    (("TTFT p50", "ttft_ms_p50", "ms"), ("E2E p50", "e2e_ms_p50", "ms")),
    (("output", "output_tokens_per_s", "tok/s"),),
    (("ITL p50", "itl_ms_p50", "ms"), ("requests", "requests_per_s", "req/s")),
    (("cached", "prefix_cache_hit_ratio", ""),),
)
"""What is shown: of each group the first that there is, for whole answers have no first token.
Where there is no room, the last groups are left out first."""

_FIGURE: Final = 8
_GAP: Final = 2
_VERDICT: Final = 7
"""Characters of a verdict that are always shown: ``invalid``."""
_LABEL: Final = 6
"""Characters of a label that a column is worth having for."""
_MORE: Final = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Widths in characters.

    Attributes:
        labels: of the factors that are shown: the first ones.
        figures: how many of ``FIGURES`` are shown.
        verdict: of the last column.
    """

    labels: tuple[int, ...]
    figures: int
    verdict: int


def chosen(results: Iterable[Record | Failure]) -> list[Figure]:
    """Choose the figure of each group: the first that any of these trials has, else the first."""
    found = [result.metrics for result in results if isinstance(result, Record)]

    def there(figure: Figure) -> bool:
        return any(metrics.get(figure[1]) is not None for metrics in found)

    return [next(filter(there, group), group[0]) for group in FIGURES]


def layout(width: int, needs: Sequence[int], verdict_need: int) -> Layout:
    """Share out a line: labels whole if they fit, else shortened, else the first ones only.

    Args:
        width: of the terminal.
        needs: width of the longest label, or heading, of each factor.
        verdict_need: width of the longest verdict.
    """
    least = min(sum(min(need, 2 * _LABEL) + _GAP for need in needs), width // 2)
    figures = len(FIGURES)
    while figures > 1 and width - _VERDICT - figures * (_FIGURE + _GAP) < least:
        figures -= 1
    room = width - _VERDICT - figures * (_FIGURE + _GAP)
    shown = len(needs)
    while shown > 1 and sum(min(n, _LABEL) + _GAP for n in needs[:shown]) > room:
        shown -= 1
    if shown < len(needs):
        room -= _MORE + _GAP
    labels = _shortened(needs[:shown], max(room - shown * _GAP, shown))
    left = room - sum(labels) - shown * _GAP
    return Layout(labels, figures, max(min(verdict_need, _VERDICT + left), _VERDICT))


def _shortened(needs: Sequence[int], room: int) -> tuple[int, ...]:
    """Cut the widest until all fit into ``room``."""
    limit = max(needs, default=0)
    while limit > 1 and sum(min(need, limit) for need in needs) > room:
        limit -= 1
    return tuple(min(need, limit) for need in needs)


def ended_table(ended: Sequence[Ended], width: int) -> Table:
    """Make the table of some trials for a terminal of this width."""
    paths = list(dict.fromkeys(path for trial, _ in ended for path in trial.levels))
    headings = [path.rsplit(".", 1)[-1] for path in paths]
    needs = [
        max(len(heading), *(len(trial.levels.get(path, "")) for trial, _ in ended))
        for heading, path in zip(headings, paths, strict=True)
    ]
    verdicts = [verdict(result) for _, result in ended]
    fits = layout(width, needs, max((len(told) for told in verdicts), default=0))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for heading, wide in zip(headings, fits.labels, strict=False):
        table.add_column(Text(heading), width=wide, no_wrap=True, overflow="ellipsis")
    hidden = len(paths) - len(fits.labels)
    if hidden:
        table.add_column("…", width=_MORE)
    figures = chosen(result for _, result in ended)[: fits.figures]
    for heading, _, unit in figures:
        table.add_column(f"{heading}\n{unit}", justify="right", width=_FIGURE, no_wrap=True)
    table.add_column("verdict", width=fits.verdict, no_wrap=True, overflow="ellipsis")
    for (trial, result), told in zip(ended, verdicts, strict=True):
        labels = [Text(trial.levels.get(path, "")) for path in paths[: len(fits.labels)]]
        style = "" if isinstance(result, Record) and result.valid else "red"
        cells = [figure(result, name) for _, name, _ in figures]
        word = told if fits.verdict >= min(len(told), 2 * _VERDICT) else re.split(r"\W", told)[0]
        table.add_row(*labels, *(["…"] if hidden else []), *cells, Text(word, style=style))
    return table


def figure(result: Record | Failure, name: str) -> str:
    """Write one metric in three digits or more; a dash where there is none."""
    value = result.metrics.get(name) if isinstance(result, Record) else None
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"  # noqa: PLR2004 - three digits
