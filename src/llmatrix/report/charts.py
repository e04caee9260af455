"""The page's four pictures as Vega-Lite, built and checked by Altair.

Colours are CSS variables, so that one picture fits light, dark and print. The rows come later:
the page's script fills the named data sets from the data embedded once, and sets axis titles to
what the reader picked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import altair as alt

CATEGORIES: Final = [f"var(--c{number})" for number in range(1, 9)]
INK: Final = "var(--ink)"
ACCENT: Final = "var(--accent)"
DANGER: Final = "var(--danger)"
SIMULATED: Final = "Simulated: no real model answered"
_NUMBER: Final = ",.3~r"


def charts(*, simulated: bool) -> dict[str, dict[str, Any]]:
    """Give each picture's Vega-Lite document by name: heatmap, scatter, ecdf, steps."""
    makers: dict[str, Callable[[], alt.LayerChart | alt.FacetChart]] = {
        "heatmap": _heatmap,
        "scatter": _scatter,
        "ecdf": _ecdf,
        "steps": _steps,
    }
    return {name: _finish(maker(), simulated=simulated) for name, maker in makers.items()}


def _finish(chart: alt.LayerChart | alt.FacetChart, *, simulated: bool) -> dict[str, Any]:
    chart = chart.properties(width="container")
    if simulated:
        chart = chart.properties(title=alt.TitleParams(text=SIMULATED, anchor="start"))
    document: dict[str, Any] = chart.to_dict()
    document["config"] = _CONFIG
    return document


_CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "view": {"stroke": None},
    "title": {"color": "var(--warn)", "fontSize": 12, "fontWeight": 600, "offset": 10},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--ink)",
        "titleFontWeight": 500,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "var(--grid)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelLimit": 180,
        "titlePadding": 10,
        "labelPadding": 6,
        "labelOverlap": True,
        "labelSeparation": 10,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "titleFontWeight": 500,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "top",
        "symbolType": "circle",
        "symbolSize": 90,
        "symbolOpacity": 1,
        "labelLimit": 220,
        "columns": 4,
    },
    "range": {"category": CATEGORIES},
}


def _named(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name))


def _heatmap() -> alt.LayerChart | alt.FacetChart:
    """Cells over two factors; the stronger the colour, the better the figure."""
    base = _named("cells").encode(
        x=alt.X(
            "x:O",
            sort=None,
            title="x",
            axis=alt.Axis(labelAngle=0, orient="top", domain=False, ticks=False),
        ),
        y=alt.Y("y:O", sort=None, title="y", axis=alt.Axis(domain=False, ticks=False)),
        tooltip=["tip:N", "value:N", "trials:N"],
    )
    cells = base.mark_rect(cornerRadius=5, stroke="var(--card)", strokeWidth=3).encode(
        fill=alt.condition("datum.empty", alt.value("var(--grid)"), alt.value("var(--cell)")),
        fillOpacity=alt.FillOpacity(
            "goodness:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 1]), legend=None
        ),
    )
    text = base.mark_text(fontSize=13, fontWeight=500, lineBreak="\n").encode(
        text="label:N",
        color=alt.condition("datum.label === 'invalid'", alt.value(DANGER), alt.value(INK)),
    )
    return alt.layer(cells, text)


def _scatter() -> alt.LayerChart | alt.FacetChart:
    """Latency against throughput: treatments large, their trials small, invalid ones crossed."""
    chosen = alt.selection_point(name="chosen", fields=["colour"], bind="legend")
    x = alt.X(
        "x:Q",
        title="x",
        scale=alt.Scale(zero=False, nice=True, padding=12),
        axis=alt.Axis(format=_NUMBER, grid=True, tickCount=7),
    )
    y = alt.Y(
        "y:Q",
        title="y",
        scale=alt.Scale(zero=False, nice=True, padding=12),
        axis=alt.Axis(format=_NUMBER, domain=False, ticks=False, tickCount=6),
    )
    colour = alt.Color("colour:N", sort=None, title="colour", scale=alt.Scale(range=CATEGORIES))
    strength = alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12))
    tips = ["treatment:N", "what:N", "xs:N", "ys:N"]
    lines = (
        _named("lines")
        .mark_line(strokeWidth=1.5)
        .encode(
            x=x,
            y=y,
            color=colour,
            detail="line:N",
            order="order:Q",
            opacity=alt.when(chosen).then(alt.value(0.5)).otherwise(alt.value(0.06)),
        )
    )
    plain_lines = (
        _named("plain_lines")
        .mark_line(strokeWidth=1.5, color="var(--line)")
        .encode(x=x, y=y, detail="line:N", order="order:Q")
    )
    trials = (
        _named("trials")
        .mark_point(filled=True, size=22)
        .encode(
            x=x,
            y=y,
            color=colour,
            tooltip=tips,
            opacity=alt.when(chosen).then(alt.value(0.4)).otherwise(alt.value(0.05)),
        )
    )
    invalid = (
        _named("invalid")
        .mark_point(shape="cross", size=90, angle=45, filled=True, color=DANGER)
        .encode(x=x, y=y, tooltip=tips)
    )
    means = (
        _named("means")
        .mark_point(filled=True, size=110, stroke="var(--card)", strokeWidth=1.5)
        .encode(x=x, y=y, color=colour, tooltip=tips, opacity=strength)
        .add_params(chosen)
    )
    return alt.layer(lines, plain_lines, trials, invalid, means).properties(height=340)


def _ecdf() -> alt.LayerChart | alt.FacetChart:
    """The share of requests that were at least this quick, one curve per treatment."""
    chosen = alt.selection_point(name="chosen", fields=["colour"], bind="legend")
    lines = (
        _named("curves")
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(
            x=alt.X(
                "x:Q",
                title="x",
                scale=alt.Scale(zero=False, nice=False),
                axis=alt.Axis(format=_NUMBER, grid=True, tickCount=7),
            ),
            y=alt.Y(
                "q:Q",
                title="share of requests at or below",
                axis=alt.Axis(format=".0%", domain=False, ticks=False, tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            color=alt.Color(
                "colour:N",
                sort=None,
                title="colour",
                scale=alt.Scale(range=CATEGORIES),
                legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3),
            ),
            detail="treatment:N",
            strokeDash=alt.condition("datum.valid", alt.value([1, 0]), alt.value([4, 4])),
            tooltip=["treatment:N", "what:N"],
            opacity=alt.when(chosen).then(alt.value(0.85)).otherwise(alt.value(0.07)),
        )
        .add_params(chosen)
    )
    return alt.layer(lines).properties(height=340)


def _steps() -> alt.LayerChart | alt.FacetChart:
    """Seconds that all trials together spent in each step, by what became of it."""
    outcomes = ["applied", "unchanged", "skipped", "failed"]
    colours = [ACCENT, "var(--c3)", "var(--line)", DANGER]
    y = alt.Y(
        "step:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False, labelColor=INK)
    )
    bars = (
        _named("steps")
        .mark_bar(height=18, cornerRadiusEnd=2)
        .encode(
            x=alt.X(
                "sum(seconds):Q",
                title="seconds, all trials together",
                axis=alt.Axis(format=_NUMBER, tickCount=6),
            ),
            y=y,
            color=alt.Color(
                "outcome:N", title=None, scale=alt.Scale(domain=outcomes, range=colours)
            ),
            order="rank:Q",
            tooltip=["step:N", "outcome:N", "time:N", "count:Q"],
        )
    )
    labels = (
        _named("step_totals")
        .mark_text(align="left", dx=6, fontSize=12, color="var(--muted)")
        .encode(x=alt.X("seconds:Q"), y=y, text="label:N")
    )
    return alt.layer(bars, labels)
