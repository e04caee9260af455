"""Which treatments nothing else beats in both of two figures at once."""

from __future__ import annotations

import altair as alt

from llmatrix.report.charts.look import (
    CARD,
    DANGER,
    INK,
    LINE,
    TALL,
    Picture,
    across,
    coloured,
    rows,
    strength,
    upright,
)

_TIPS = ["treatment:N", "xs:N", "ys:N", "front:N"]


def pareto() -> Picture:
    """Treatments with their intervals; those on the front are ringed and joined by its edge."""
    x, y, colour = across(), upright(), coloured()
    edge = (
        rows("edge")
        .mark_line(strokeWidth=1.5, color=INK, strokeDash=[5, 4], opacity=0.55)
        .encode(x=x, y=y, order="order:Q")
    )
    lines = (
        rows("lines")
        .mark_line(strokeWidth=1.4)
        .encode(x=x, y=y, color=colour, detail="line:N", order="order:Q", opacity=alt.value(0.35))
    )
    plain_lines = (
        rows("plain_lines")
        .mark_line(strokeWidth=1.2, color=LINE)
        .encode(x=x, y=y, detail="line:N", order="order:Q")
    )
    wide = (
        rows("x_bars")
        .mark_rule(strokeWidth=1.3, clip=True)
        .encode(x=x, x2="x2:Q", y=y, color=colour, opacity=strength(0.5))
    )
    high = (
        rows("y_bars")
        .mark_rule(strokeWidth=1.3, clip=True)
        .encode(x=x, y=y, y2="y2:Q", color=colour, opacity=strength(0.5))
    )
    invalid = (
        rows("invalid")
        .mark_point(shape="cross", size=90, angle=45, filled=True, color=DANGER)
        .encode(x=x, y=y, tooltip=["treatment:N", "what:N", "xs:N", "ys:N"])
    )
    means = (
        rows("means")
        .mark_point(filled=True)
        .encode(
            x=x,
            y=y,
            color=colour,
            size=alt.condition("datum.on", alt.value(150), alt.value(60)),
            stroke=alt.condition("datum.on", alt.value(INK), alt.value(CARD)),
            strokeWidth=alt.value(1.5),
            tooltip=_TIPS,
            opacity=strength(1),
        )
    )
    return alt.layer(edge, lines, plain_lines, wide, high, invalid, means).properties(height=TALL)
