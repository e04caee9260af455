"""A comparison for people: a table for a terminal, and Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmatrix.analysis.comparisons import Verdict
from llmatrix.report.comparison import Comparison, Row
from llmatrix.report.shown import WITHHELD, estimate_text, number, plain
from llmatrix.report.sides import Side

_STYLES = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.DIFFERENT: "yellow"}
_MINUS = "\u2212"
_TO = "\u2026"
_FIGURES = ("A", "B", "Change", "Interval, %", "Sees")
_SEES = "Sees: the smallest change that four of five such experiments would have told apart."


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print who is compared, the table, what was left out, and the outcome."""
    for line in _heading(comparison):
        console.print(Text(line))
    each = any(row.treatment for row in comparison.rows)
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    if each:
        table.add_column("Treatment", overflow="fold")
    table.add_column("Metric")
    for name in _FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("B is")
    for row in comparison.rows:
        style = "bold red" if row.judged.regression else _STYLES.get(row.judged.verdict, "")
        a, b = row.judged.comparison.a.mean, row.judged.comparison.b.mean
        cells = [row.metric.title, number(a), number(b, like=a), *_figures(row)[2:]]
        told = [plain(row.treatment), *cells] if each else cells
        table.add_row(*told, Text(verdict(row), style=style))
    console.print(table)
    for line in (_SEES, *comparison.notes, *_differs(comparison)):
        console.print(Text(plain(line), style="dim"))
    style = "bold red" if comparison.regressions else "bold"
    console.print(Text(outcome(comparison), style=style))


def markdown(comparison: Comparison) -> str:
    """Write a comparison for a pull request: outcome first, the table, the rest folded away."""
    each = any(row.treatment for row in comparison.rows)
    first = ["Treatment", "Metric"] if each else ["Metric"]
    heads = [*first, *_FIGURES, "B is"]
    rules = [*(["---"] * len(first)), *(["---:"] * len(_FIGURES)), "---"]
    lines = [f"**{_escaped(outcome(comparison))}**", "", _row(heads), _row(rules)]
    for row in comparison.rows:
        told = f"**{verdict(row)}**" if row.judged.regression else verdict(row)
        named = [row.treatment, row.metric.title] if each else [row.metric.title]
        lines.append(_row([*map(_escaped, (*named, *_figures(row))), told]))
    lines += ["", *(f"{_escaped(line)}  " for line in _heading(comparison))]
    more = [_SEES, *comparison.notes, *_differs(comparison)]
    if more:
        lines += [
            "",
            "<details><summary>How to read this, what was left out, what differs</summary>",
            "",
        ]
        lines += [f"- {_escaped(line)}" for line in more]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def outcome(comparison: Comparison) -> str:
    """Say in one sentence what came out."""
    confidence = f"{100 * comparison.confidence:g} % confidence"
    found = comparison.regressions
    if found:
        names = ", ".join(dict.fromkeys(row.metric.label for row in found))
        return f"B is worse than A by more than the threshold in {names}, with {confidence}"
    if not comparison.is_judged:
        return "Nothing can be judged: it takes two valid replicates of a treatment on both sides"
    count = sum(row.judged.verdict is Verdict.UNJUDGED for row in comparison.rows)
    unjudged = f"; {count} of {len(comparison.rows)} rows could not be judged" if count else ""
    return f"No regression beyond the threshold is seen, with {confidence}{unjudged}"


def verdict(row: Row) -> str:
    """Say what can be said of B."""
    if row.judged.regression:
        return f"worse by > {100 * row.judged.comparison.threshold:g} %"
    return str(row.judged.verdict)


def _heading(comparison: Comparison) -> Iterator[str]:
    for side in (comparison.a, comparison.b):
        yield _side(side)
    count = len(comparison.matched.cells)
    over = "one treatment" if count == 1 else f"{count} treatments that both have"
    each = any(row.treatment for row in comparison.rows)
    paired = any(row.judged.comparison.paired for row in comparison.rows)
    traffic = "paired by common traffic" if paired else "on different traffic"
    mark = "; simulated, not measured on a real server" if comparison.simulated else ""
    how = "each by itself" if each else "averaged"
    yield f"over {over}, {how}, {traffic}{mark}"


def _side(side: Side) -> str:
    chosen = " ".join(f"{f}={','.join(sorted(labels))}" for f, labels in side.chosen.items())
    return plain(f"{side.name}: {side.place}{f' {chosen}' if chosen else ''}")


def _differs(comparison: Comparison) -> Iterator[str]:
    for line in comparison.matched.differs:
        yield f"differs: {line}"


def _figures(row: Row) -> tuple[str, ...]:
    """Give the cells under ``_FIGURES``; where A is zero, the change is a difference."""
    found = row.judged.comparison
    a, b = estimate_text(found.a), estimate_text(found.b)
    if found.ratio is None:
        value = found.difference.value
        return a, b, WITHHELD if value is None else number(value), WITHHELD, WITHHELD
    bounds = [WITHHELD]
    if found.ratio.low is not None and found.ratio.high is not None:
        bounds = [_signed(bound - 1) for bound in (found.ratio.low, found.ratio.high)]
    seen = WITHHELD
    if found.detectable is not None and found.a.mean:
        seen = f"{abs(100 * found.detectable / found.a.mean):.1f} %"
    return a, b, f"{_signed(found.ratio.value - 1)} %", f" {_TO} ".join(bounds), seen


def _signed(share: float) -> str:
    """Write a share as percent with its sign."""
    text = f"{100 * share:+.1f}"
    return text.replace("-", _MINUS) if float(text) else "0.0"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Keep what others named from being read as Markdown or HTML."""
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_|[]":
        safe = safe.replace(mark, f"\\{mark}")
    return safe
