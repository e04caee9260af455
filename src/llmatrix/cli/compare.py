"""``llmatrix compare``: is B better than A, and is it a regression? Made for CI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from llmatrix.errors import UserError

if TYPE_CHECKING:
    from llmatrix.report.sides import Side


@click.command("compare")
@click.argument("places", nargs=-1, metavar="A [B]")
@click.option("--baseline", metavar="A", help="The reference, so that the only argument is B.")
@click.option("--a", "choose_a", metavar="FACTOR=LEVEL", multiple=True, help="Choose A's trials.")
@click.option("--b", "choose_b", metavar="FACTOR=LEVEL", multiple=True, help="Choose B's trials.")
@click.option("--only", metavar="FACTOR=LEVEL", multiple=True, help="Choose both sides' trials.")
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Compare this one; may be repeated."
)
@click.option(
    "--threshold",
    "thresholds",
    metavar="[METRIC=]SHARE",
    multiple=True,
    help="How much worse B may be: 5%, or ttft_ms_p99=10% for one metric.  [default: 5%]",
)
@click.option("--confidence", default="95%", show_default=True, help="Of all verdicts together.")
@click.option("--each", is_flag=True, help="Judge every treatment by itself, not their average.")
@click.option(
    "--allow",
    type=click.Choice(["workload", "harness", "simulated"]),
    multiple=True,
    help="Compare although this differs.",
)
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
def command(places: tuple[str, ...], form: str | None, *, each: bool, **options: Any) -> int:
    r"""Hold B against A over the treatments that both have.

    A and B are experiments (folders or URLs, as for `report`), or two levels of a factor within
    one:

    \b
      llmatrix compare results/main results/branch --threshold 5%
      llmatrix compare results/quickstart --a config=queue --b config=prefix

    Ends with 1 if B is worse than A by more than the threshold, with confidence; 2 if nothing
    could be judged.
    """
    from llmatrix.report.comparison import compare_sides, document  # noqa: PLC0415 - not for --help
    from llmatrix.report.sides import match  # noqa: PLC0415

    wanted = _Wanted(**options)
    thresholds, confidence = _thresholds(wanted.thresholds), _confidence(wanted.confidence)
    a, b = _sides(places, wanted)
    found = compare_sides(
        a,
        b,
        match(a, b, allow=wanted.allow),
        metrics=wanted.metrics,
        thresholds=thresholds,
        confidence=confidence,
        each=each,
    )
    if form == "json":
        click.echo(json.dumps(document(found), indent=1, allow_nan=False))
    elif form == "markdown":
        from llmatrix.report.comparison_text import markdown  # noqa: PLC0415

        click.echo(markdown(found), nl=False)
    else:
        from rich.console import Console  # noqa: PLC0415

        from llmatrix.report.comparison_text import print_comparison  # noqa: PLC0415

        print_comparison(found, Console(highlight=False))
    if not found.is_judged:
        raise UserError(
            "no verdict: it takes two valid replicates of a treatment on both sides; run both with "
            "replicates: 3"
        )
    return 1 if found.regressions else 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options that say what is compared and how, as they were written."""

    baseline: str | None
    choose_a: tuple[str, ...]
    choose_b: tuple[str, ...]
    only: tuple[str, ...]
    metrics: tuple[str, ...]
    thresholds: tuple[str, ...]
    confidence: str
    allow: tuple[str, ...]


def _sides(places: tuple[str, ...], wanted: _Wanted) -> tuple[Side, Side]:
    from llmatrix.report.sides import Side  # noqa: PLC0415
    from llmatrix.results.dataset import Dataset, load  # noqa: PLC0415
    from llmatrix.results.places import find_experiment  # noqa: PLC0415
    from llmatrix.spec.select import choose  # noqa: PLC0415

    a, b = (*wanted.only, *wanted.choose_a), (*wanted.only, *wanted.choose_b)
    named = places if wanted.baseline is None else (wanted.baseline, *places)
    if len(named) not in {1, 2} or not places:
        raise click.UsageError(
            "name two experiments, A and B; or one, and two of its levels by --a and --b"
        )
    if len(named) == 1 and not (wanted.choose_a and wanted.choose_b):
        raise click.UsageError(
            "one experiment alone: choose what to compare by --a factor=level --b factor=level"
        )
    datasets = [load(*find_experiment(str(name), command="llmatrix compare")) for name in named]

    def side(name: str, dataset: Dataset, options: tuple[str, ...]) -> Side:
        labels = {
            factor: list(dict.fromkeys(str(lv[factor]) for lv in dataset.levels.values()))
            for factor in dataset.factors
        }
        return Side(name, dataset, choose(options, labels, flag=f"--{name.lower()}"))

    return side("A", datasets[0], a), side("B", datasets[-1], b)


def _thresholds(options: tuple[str, ...]) -> dict[str, float]:
    found = {"": 0.05}
    for option in options:
        metric, equals, text = option.rpartition("=")
        share = _share(text, f"--threshold {option}")
        if equals and not metric:
            raise UserError(f"--threshold {option}: names no metric; write ttft_ms_p99=10%")
        found[metric] = share
    return found


def _confidence(text: str) -> float:
    share = _share(text, "--confidence")
    if not 0.5 <= share < 1:  # noqa: PLR2004 - less than a coin's throw is no confidence
        raise UserError(f"--confidence {text}: write a share from 50% to below 100%")
    return share


def _share(text: str, option: str) -> float:
    """Read ``5%`` or ``0.05``."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if rest or not 0 <= value <= 10:  # noqa: PLR2004 - also refuses NaN and forgotten signs
        raise UserError(f"{option}: '{text}' is no share; write 5% or 0.05")
    return value
