"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import vl_convert
from markupsafe import Markup

from llmatrix import __version__
from llmatrix.analysis.checks import Verdict
from llmatrix.report.distributions import Distribution, distributions
from llmatrix.report.headline import findings, lead
from llmatrix.report.payload import payload
from llmatrix.report.shown import WITHHELD, duration, estimate_text, number
from llmatrix.report.summary import Summary
from llmatrix.report.terminal import counts, describe, withheld

_PARTS = Path(__file__).with_name("page_parts")


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


def render_page(summary: Summary) -> str:
    """Give the page as HTML; every text of the user is escaped."""
    curves, problems = _curves(summary)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration, "estimate": estimate_text}
    return environment.get_template("page.html.j2").render(
        summary=summary,
        data=summary.dataset,
        lead=lead(summary),
        findings=findings(summary),
        counts=counts(summary),
        withheld=withheld(summary),
        problems=[*summary.dataset.problems, *problems],
        describe=describe,
        number_like=lambda found: number(found.half_width, like=found.mean),
        warnings=_warnings(summary),
        replicated=any(len(treatment.valid) > 1 for treatment in summary.treatments),
        provenance=_provenance(summary),
        payload=payload(summary, curves),
        spent=_spent(summary),
        dash=WITHHELD,
        version=__version__,
        style=_inline("page.css"),
        script=_inline("page.js"),
        vega=_vega(),
    )


def _curves(summary: Summary) -> tuple[dict[str, list[Distribution]], list[str]]:
    problems = list(summary.dataset.request_problems())
    try:
        return distributions(summary), problems
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        return {}, [
            *problems,
            f"the requests cannot be read, so no distribution is drawn: {reason}",
        ]


def _inline(name: str) -> Markup:
    return Markup((_PARTS / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of ours


@cache
def _vega() -> Markup:
    """Give Vega, Vega-Lite and Vega-Embed as one script."""
    bundle = vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed; window.vegaLite = vegaLite; window.vega = vega;"
    )
    return Markup(bundle.replace("</script", "<\\/script"))  # noqa: S704 - a library of ours


def _spent(summary: Summary) -> str:
    records = summary.dataset.records
    spent = sum(step.seconds for record in records for step in record.steps)
    windows = sum(end - start for start, end in (record.window_s for record in records))
    if not spent:
        return ""
    return f"{duration(spent)} on the measured trials, {windows / spent:.0%} of it measured windows"


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


def _provenance(summary: Summary) -> list[tuple[str, str]]:
    data = summary.dataset
    rows: list[tuple[str, str]] = [("Trials", counts(summary))]
    if data.manifest is not None:
        rows.append(("Seed of the order", str(data.manifest.seed)))
        rows.append(("Reproduce with", data.manifest.command_line))
    if data.records:
        first = min(record.started_at for record in data.records)
        last = max(record.ended_at for record in data.records)
        rows.append(("Measured", f"{_moment(first)} to {_moment(last)}"))
        rows.append(
            ("Model", _several(r.document.get("model", {}).get("name") for r in data.records))
        )
        rows.append(
            ("Stack", _several(r.document.get("stack", {}).get("kind") for r in data.records))
        )
        rows.append(("Accelerators", _several(record.accelerators for record in data.records)))
        parts = dict.fromkeys(part for record in data.records for part in record.versions)
        rows += [
            (f"Version of the {part}", _several(r.versions.get(part) for r in data.records))
            for part in parts
        ]
        keys = dict.fromkeys(key for record in data.records for key in record.host)
        rows += [(f"Host: {key}", _several(r.host.get(key) for r in data.records)) for key in keys]
    rows.append(("Kept in", data.store.url))
    rows.append(("Page made by", f"llmatrix {__version__}"))
    return [(name, text) for name, text in rows if text]


def _several(values: Any) -> str:
    """Give the distinct values in words, in the order of their appearance."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
