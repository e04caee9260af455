"""What the factors do: a heatmap over two of them, and the main effect of each."""

from __future__ import annotations

import altair as alt

from llmatrix.report.charts.look import ACCENT, DANGER, INK, LINE, MUTED, NUMBER, Picture, rows


def heatmap() -> Picture:
    """Cells over two factors; the stronger the colour, the better the figure."""
    base = rows("cells").encode(
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
        opacity=alt.condition(
            "lit < 0 || indexof(datum.ts, lit) >= 0", alt.value(1), alt.value(0.45)
        ),
    )
    text = base.mark_text(fontSize=13, fontWeight=500, lineBreak="\n").encode(
        text="label:N",
        color=alt.condition("datum.label === 'invalid'", alt.value(DANGER), alt.value(INK)),
    )
    return alt.layer(cells, text)


def effects() -> Picture:
    """Each level's mean over the other factors with its interval, around the mean of all.

    A row's name is its number, a bar and its label, since two factors may share a label.
    """
    y = alt.Y(
        "row:N",
        sort=None,
        title=None,
        axis=alt.Axis(
            domain=False,
            ticks=False,
            grid=True,
            labelExpr="slice(datum.label, indexof(datum.label, '|') + 1)",
            labelColor=INK,
            labelOverlap=False,
        ),
    )
    x = alt.X(
        "x:Q",
        title="x",
        scale=alt.Scale(zero=False, nice=True, padding=16),
        axis=alt.Axis(format=NUMBER, tickCount=6),
    )
    middle = rows("middle").mark_rule(color=LINE, strokeWidth=1.5).encode(x=x)
    heads = (
        rows("heads")
        .mark_text(align="left", fontSize=12, fontWeight=600, color=MUTED)
        .encode(x=alt.value(6), y=y, text="name:N")
    )
    joined = (
        rows("joined")
        .mark_line(color=ACCENT, opacity=0.25, strokeWidth=1.5)
        .encode(x=x, y=y, detail="factor:N", order="order:Q")
    )
    bars = (
        rows("bars")
        .mark_rule(color=ACCENT, strokeWidth=2, opacity=0.65)
        .encode(x=x, x2="x2:Q", y=y)
    )
    dots = (
        rows("levels")
        .mark_point(filled=True, size=85, color=ACCENT, opacity=1)
        .encode(x=x, y=y, tooltip=["factor:N", "level:N", "mean:N", "effect:N"])
    )
    return alt.layer(middle, heads, joined, bars, dots)
