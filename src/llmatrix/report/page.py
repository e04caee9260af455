"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from llmatrix import __version__
from llmatrix.analysis.checks import Verdict
from llmatrix.analysis.drift import Drift, drift
from llmatrix.report.bundle import bundling
from llmatrix.report.headline import configuration, findings, held_text, lead, load_text
from llmatrix.report.main_effects import no_interactions
from llmatrix.report.measured import measure
from llmatrix.report.payload import payload
from llmatrix.report.provenance import provenance, reproduce, spent
from llmatrix.report.shown import WITHHELD, Shown, duration, estimate_text, number
from llmatrix.report.summary import Kept, Summary
from llmatrix.report.terminal import counts, describe, withheld

_PARTS: Final = Path(__file__).with_name("page_parts")
_SCRIPTS: Final = (
    "numbers.js",
    "state.js",
    "draw.js",
    "figures.js",
    "tables.js",
    "trial.js",
    "start.js",
)
"""In this order; together they are one script."""


def write_page(summary: Summary, path: Path) -> None:
    """Write the page; whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    content = render_page(summary)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)  # noqa: PTH105 - the same, in the words of the store
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def render_page(summary: Summary, *, live: str = "") -> str:
    """Give the page as HTML; every text of the user is escaped.

    Args:
        summary: what it shows.
        live: the version of what it shows, where it is served while a run goes on: it then asks
            whether there is a newer one.
    """
    bundled = bundling()
    measured = measure(summary)
    vega = bundled()
    found = findings(summary, measured.varied)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            summary=summary,
            data=summary.dataset,
            lead=lead(summary, found),
            findings=found,
            counts=counts(summary),
            withheld=withheld(summary),
            problems=[*summary.dataset.problems, *measured.problems],
            describe=describe,
            number_like=lambda found: number(found.half_width, like=found.mean),
            configuration=configuration,
            load_text=load_text,
            held_text=held_text,
            varied=measured.varied,
            tradeoffs=measured.tradeoffs,
            kept=_kept(summary),
            warnings=_warnings(summary),
            no_interactions=no_interactions(summary),
            drifts=_drifts(summary),
            controls=sum(record.control > 0 for record in summary.dataset.records),
            replicated=any(len(treatment.valid) > 1 for treatment in summary.treatments),
            provenance=provenance(summary),
            reproduce=reproduce(summary),
            payload=payload(summary, measured),
            spent=spent(summary),
            dash=WITHHELD,
            version=__version__,
            live=live,
            style=_inline("page.css"),
            scripts=[_inline(name) for name in _SCRIPTS],
            live_script=_inline("live.js") if live else "",
            vega=vega,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration, "estimate": estimate_text}
    return environment


def _inline(name: str) -> Markup:
    return Markup((_PARTS / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of ours


def _kept(summary: Summary) -> str:
    """Say how many treatments keep every objective; empty where there is none."""
    if not summary.objectives or not summary.treatments:
        return ""
    verdicts = [{o.judge(t) for o in summary.objectives} for t in summary.treatments]
    kept = sum(found == {Kept.YES} for found in verdicts)
    limits = " and ".join(objective.text for objective in summary.objectives)
    judged = any(len(treatment.valid) > 1 for treatment in summary.treatments)
    return f"{kept} of {len(verdicts)} treatments keep {limits}{', interval included' * judged}."


def _warnings(summary: Summary) -> list[str]:
    """Give each distinct check that passed with a reservation, and how many trials have it."""
    found: Counter[tuple[str, str, str]] = Counter(
        (check.name, check.verdict, check.advice)
        for record in summary.dataset.records
        for check in record.checks
        if check.verdict in {Verdict.WARN, Verdict.UNKNOWN}
    )
    return [
        f"{name}: {verdict} in {count} of {len(summary.dataset.records)} trials"
        + (f"; {advice}" if advice else "")
        for (name, verdict, advice), count in found.items()
    ]


def _drifts(summary: Summary) -> list[tuple[Shown, Drift]]:
    """Give how the metrics that people ask for first changed across the run."""
    asked = ("ttft_ms_p50", "itl_ms_p50", "output_tokens_per_s")
    found = []
    for metric in summary.metrics:
        if metric.name not in asked:
            continue
        series = [
            [
                (r.started_at, v)
                for r in t.trials
                if r.valid and (v := r.metrics.get(metric.name)) is not None
            ]
            for t in summary.treatments
        ]
        told: Any = drift(series)
        if told is not None:
            found.append((metric, told))
    return found
