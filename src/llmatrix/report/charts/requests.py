"""Requests: how each treatment's are distributed, and one trial's over its time."""

from __future__ import annotations

import altair as alt

from llmatrix.report.charts.look import (
    CATEGORIES,
    DANGER,
    LINE,
    NUMBER,
    TALL,
    Picture,
    across,
    coloured,
    rows,
    strength,
    upright,
)


def ecdf() -> Picture:
    """The share of requests that were at least this quick, one curve per treatment."""
    lines = (
        rows("curves")
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(
            x=alt.X(
                "x:Q",
                title="x",
                scale=alt.Scale(zero=False, nice=False),
                axis=alt.Axis(format=NUMBER, grid=True, tickCount=7),
            ),
            y=alt.Y(
                "q:Q",
                title="share of requests at or below",
                axis=alt.Axis(format=".1~%", domain=False, ticks=False, tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            color=coloured(symbolType="stroke", symbolStrokeWidth=3),
            detail="t:N",
            strokeDash=alt.condition("datum.valid", alt.value([1, 0]), alt.value([4, 4])),
            tooltip=["treatment:N", "what:N"],
            opacity=strength(0.85, faint=0.07),
        )
    )
    return alt.layer(lines).properties(height=TALL)


def requests() -> Picture:
    """One trial's requests by when they were scheduled; failed ones crossed at the bottom."""
    x, y = across(), upright()
    window = (
        rows("window")
        .mark_rect(color="var(--wash)", opacity=0.8)
        .encode(x=alt.X("x:Q"), x2="x2:Q", tooltip=["what:N"])
    )
    points = (
        rows("points")
        .mark_point(filled=True, size=22, opacity=0.65)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "server:N", sort=None, title="answered by", scale=alt.Scale(range=CATEGORIES)
            ),
            tooltip=["what:N", "xs:N", "ttft:N", "tpot:N", "e2e:N"],
        )
    )
    failed = (
        rows("failed")
        .mark_point(shape="cross", angle=45, size=60, color=DANGER, filled=True)
        .encode(x=x, y=alt.value(TALL - 80), tooltip=["what:N", "xs:N"])
    )
    edge = rows("window").mark_rule(color=LINE).encode(x=alt.X("x:Q"))
    return alt.layer(window, edge, points, failed).properties(height=TALL - 80)
