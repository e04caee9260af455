from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from llmatrix.report.summary import Summary
from llmatrix.report.terminal import print_report
from llmatrix.results.manifest import Manifest, PlannedTrials, write_manifest

Summarize = Callable[[Any], Summary]
Shape = Callable[..., Any]


def printed(summary: Summary, **console: Any) -> str:
    out = io.StringIO()
    print_report(summary, Console(file=out, highlight=False, **console))
    return out.getvalue()


def test_the_table_has_a_row_per_treatment_and_is_never_cut(
    summarize: Summarize, synthetic: Shape
) -> None:
    long = "a-level-with-a-name-that-goes-on-" * 6
    factors = {"stack.router.config": ["none", long], "workload.question_len": ["100", "1000"]}
    text = printed(summarize(synthetic(requests=5, factors=factors)))
    rows = [line for line in text.splitlines() if line.startswith((long, "none "))]
    assert len(rows) == 4 + 2
    assert "TTFT p50 (ms)" in text
    assert "\u00b1" in rows[0]
    assert "\u2026" not in text
    assert "\x1b" not in text
    assert "SIMULATED" in text


def test_a_narrow_terminal_drops_columns_and_never_overflows(
    summarize: Summarize, synthetic: Shape
) -> None:
    summary = summarize(synthetic(requests=5))
    text = printed(summary, width=100, force_terminal=True, color_system=None)
    table = text[text.index("config") : text.index("mean \u00b1")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 100
    assert "TTFT p50 (ms)" in table
    assert "Output (tok/s)" in table
    assert "ITL p99 (ms)" not in table
    assert "a wider terminal also shows" in table


def test_invalid_trials_are_marked_and_explained(summarize: Summarize, synthetic: Shape) -> None:
    text = printed(summarize(synthetic(requests=5, invalid=lambda number: number in {0, 1, 2, 4})))
    assert "14 valid, 4 invalid" in text
    assert "0 of 3, 3 invalid" in text
    assert "2 of 3, 1 invalid" in text
    assert "dispatch_lag_ms_p99 12.5, must be <= 5 ms; use fewer requests" in text


def test_failed_trials_are_listed_with_step_and_reason(
    summarize: Summarize, synthetic: Shape
) -> None:
    text = printed(summarize(synthetic(requests=5, failing=lambda number: number == 7)))
    assert "Failed trials (1)" in text
    assert "step server, 1 try: the server ended with exit code 1" in text


def test_a_withheld_figure_is_a_dash_with_its_reason(
    summarize: Summarize, synthetic: Shape
) -> None:
    text = printed(summarize(synthetic(requests=5)))
    assert "\u2013 TTFT p99: p99 needs 662 samples\n" in text


def test_what_is_missing_and_what_is_promised_is_told(
    summarize: Summarize, synthetic: Shape
) -> None:
    summary = summarize(synthetic(requests=5))
    data = summary.dataset
    plan = PlannedTrials(trials=[*(record.trial for record in data.records), "x" * 20])
    manifest = Manifest(
        name="synthetic", slo={"ttft_p50": 0.05}, plan=plan, command="llmatrix run f"
    )
    write_manifest(data.store, manifest)
    from_store = Summary(type(data)(**{**fields(data), "manifest": manifest}))
    text = printed(from_store)
    assert "1 planned and not yet run" in text
    assert "run again to finish them: llmatrix run f" in text
    assert "TTFT p50 \u2264 50 ms" in text
    assert "kept" in text
    assert "missed" in text


def test_a_command_that_chose_some_trials_cannot_finish_the_others(
    summarize: Summarize, synthetic: Shape
) -> None:
    data = summarize(synthetic(requests=5)).dataset
    plan = PlannedTrials(trials=["x" * 20])
    manifest = Manifest(name="synthetic", plan=plan, command="llmatrix run f --only x=1")
    text = printed(Summary(type(data)(**{**fields(data), "manifest": manifest})))
    assert "1 planned trials are not yet run: run again without --only to finish them" in text


def fields(data: Any) -> dict[str, Any]:
    return {name: getattr(data, name) for name in data.__slots__}


def test_hostile_levels_are_printed_as_text(summarize: Summarize, synthetic: Shape) -> None:
    factors = {"stack.x": ["[bold]b[/bold]", "\x1b[31mred\x1b[0m", "a\nb"]}
    text = printed(
        summarize(synthetic(requests=5, factors=factors, invalid=lambda number: number == 3))
    )
    assert "[bold]b[/bold]" in text
    assert "\x1b" not in text
    assert "\ufffd[31mred" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_an_experiment_with_nothing_in_it_prints_its_title(
    summarize: Summarize, synthetic: Shape, *, terminal: bool
) -> None:
    summary = summarize(synthetic(factors={"a.b": []}))
    text = printed(summary, force_terminal=terminal, color_system=None)
    assert text.strip() == "synthetic  0 trials measured: 0 valid"
