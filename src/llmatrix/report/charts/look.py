"""What all pictures have in common: colours, fonts, the note on simulation, links between them.

Colours are CSS variables, so that one picture fits light, dark and print. The rows come later:
the page's script fills the named data sets from the data embedded once, and sets axis titles to
what the reader picked. The parameter ``lit`` is the treatment that the reader points at, in
whichever picture; -1 for none.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import altair as alt

CATEGORIES: Final = [f"var(--c{number})" for number in range(1, 9)]
INK: Final = "var(--ink)"
MUTED: Final = "var(--muted)"
CARD: Final = "var(--card)"
LINE: Final = "var(--line)"
ACCENT: Final = "var(--accent)"
DANGER: Final = "var(--danger)"
SIMULATED: Final = "Simulated: no real model answered"
NUMBER: Final = ",.3~r"
Picture: TypeAlias = alt.LayerChart | alt.FacetChart
"""What layering gives, by its type."""
TALL: Final = 340
"""Height of a picture in pixels."""

CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "view": {"stroke": None},
    "title": {"color": "var(--warn)", "fontSize": 12, "fontWeight": 600, "offset": 10},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "titleFontWeight": 500,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "var(--grid)",
        "domainColor": LINE,
        "tickColor": LINE,
        "labelLimit": 180,
        "titlePadding": 10,
        "labelPadding": 6,
        "labelOverlap": True,
        "labelSeparation": 10,
    },
    "legend": {
        "labelColor": INK,
        "titleColor": MUTED,
        "titleFontWeight": 500,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "top",
        "symbolType": "circle",
        "symbolSize": 90,
        "symbolOpacity": 1,
        "labelLimit": 220,
        "columns": 4,
        "columnPadding": 18,
    },
    "range": {"category": CATEGORIES},
}


def finish(chart: Picture, *, simulated: bool) -> dict[str, Any]:
    """Give the checked Vega-Lite document of a picture, as wide as its place."""
    chart = chart.properties(width="container").add_params(alt.param(name="lit", value=-1))
    if simulated:
        chart = chart.properties(title=alt.TitleParams(text=SIMULATED, anchor="start"))
    document: dict[str, Any] = chart.to_dict()
    document["config"] = CONFIG
    return document


def rows(name: str) -> alt.Chart:
    """Begin a layer over the named data set."""
    return alt.Chart(alt.NamedData(name))


def strength(plain: float, *, faint: float = 0.1) -> Any:
    """Give the opacity of a mark: faint while the reader points at another treatment."""
    return alt.condition(
        "lit < 0 || datum.t === lit", alt.value(plain), alt.value(min(plain, faint))
    )


def across(**axis: Any) -> alt.X:
    """Give a horizontal axis of numbers; the script sets its title and scale."""
    return alt.X(
        "x:Q",
        title="x",
        scale=alt.Scale(zero=False, nice=True, padding=12),
        axis=alt.Axis(format=NUMBER, grid=True, tickCount=7, **axis),
    )


def upright(**axis: Any) -> alt.Y:
    """Give a vertical axis of numbers; the script sets its title and scale."""
    return alt.Y(
        "y:Q",
        title="y",
        scale=alt.Scale(zero=False, nice=True, padding=12),
        axis=alt.Axis(format=NUMBER, domain=False, ticks=False, tickCount=6, **axis),
    )


def coloured(**legend: Any) -> alt.Color:
    """Colour by the level that the script wrote into ``colour``."""
    return alt.Color(
        "colour:N",
        sort=None,
        title="colour",
        scale=alt.Scale(range=CATEGORIES),
        legend=alt.Legend(**legend),
    )
