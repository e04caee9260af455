"""What the servers said of themselves over time, and where the wall time went."""

from __future__ import annotations

import altair as alt

from llmatrix.report.charts.look import (
    ACCENT,
    CATEGORIES,
    DANGER,
    INK,
    LINE,
    MUTED,
    NUMBER,
    Picture,
    across,
    rows,
    upright,
)


def servers() -> Picture:
    """One figure of every server over one trial; the measured window is shaded."""
    x = across()
    window = (
        rows("window")
        .mark_rect(color="var(--wash)", opacity=0.8)
        .encode(x=alt.X("x:Q"), x2="x2:Q", tooltip=["what:N"])
    )
    lines = (
        rows("series")
        .mark_line(strokeWidth=1.7, opacity=0.9)
        .encode(
            x=x,
            y=upright(),
            color=alt.Color(
                "server:N",
                sort=None,
                title="server",
                scale=alt.Scale(range=CATEGORIES),
                legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3, columns=3),
            ),
            tooltip=["server:N", "xs:N", "ys:N"],
        )
    )
    return alt.layer(window, lines).properties(height=260)


def steps() -> Picture:
    """Seconds that all trials together spent in each step, by what became of it."""
    outcomes = ["applied", "unchanged", "skipped", "failed"]
    colours = [ACCENT, "var(--c3)", LINE, DANGER]
    y = alt.Y(
        "step:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False, labelColor=INK)
    )
    bars = (
        rows("steps")
        .mark_bar(height=18, cornerRadiusEnd=2)
        .encode(
            x=alt.X(
                "sum(seconds):Q",
                title="seconds, all trials together",
                axis=alt.Axis(format=NUMBER, tickCount=6),
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
        rows("step_totals")
        .mark_text(align="left", dx=6, fontSize=12, color=MUTED)
        .encode(x=alt.X("seconds:Q"), y=y, text="label:N")
    )
    return alt.layer(bars, labels)
