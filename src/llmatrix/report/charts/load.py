"""Latency against load: the objective's limit, each configuration's curve and its knee."""

from __future__ import annotations

import altair as alt

from llmatrix.report.charts.look import (
    CARD,
    DANGER,
    INK,
    TALL,
    Picture,
    across,
    coloured,
    rows,
    strength,
    upright,
)

_TIPS = ["treatment:N", "what:N", "xs:N", "ys:N"]


def load() -> Picture:
    """Means large with their intervals, trials small, invalid ones crossed."""
    x, y, colour = across(), upright(), coloured()
    knees = (
        rows("knees")
        .mark_rule(strokeWidth=1.5, strokeDash=[2, 3])
        .encode(x=x, color=colour, tooltip=["treatment:N", "what:N"], opacity=strength(0.9))
    )
    lines = (
        rows("lines")
        .mark_line(strokeWidth=1.8)
        .encode(x=x, y=y, color=colour, detail="line:N", order="order:Q", opacity=alt.value(0.75))
    )
    bars = (
        rows("y_bars")
        .mark_rule(strokeWidth=1.4, clip=True)
        .encode(x=x, y=y, y2="y2:Q", color=colour, opacity=strength(0.6))
    )
    trials = (
        rows("trials")
        .mark_point(filled=True, size=20)
        .encode(x=x, y=y, color=colour, tooltip=_TIPS, opacity=strength(0.4, faint=0.04))
    )
    invalid = (
        rows("invalid")
        .mark_point(shape="cross", size=90, angle=45, filled=True, color=DANGER)
        .encode(x=x, y=y, tooltip=_TIPS)
    )
    means = (
        rows("means")
        .mark_point(filled=True, size=90, stroke=CARD, strokeWidth=1.2)
        .encode(x=x, y=y, color=colour, tooltip=_TIPS, opacity=strength(1))
    )
    limit = (
        rows("limit")
        .mark_rule(strokeWidth=1.6, strokeDash=[7, 4], color=DANGER)
        .encode(y=y, tooltip=["label:N"])
    )
    words = (
        rows("limit")
        .mark_text(align="left", baseline="bottom", dy=-4, fontSize=12, color=INK, fontWeight=500)
        .encode(x=alt.value(4), y=y, text="label:N")
    )
    return alt.layer(knees, lines, bars, trials, invalid, means, limit, words).properties(
        height=TALL
    )
