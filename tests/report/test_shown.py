from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.analysis.replicates import Estimate
from llmatrix.report.shown import (
    duration,
    estimate_text,
    natural,
    number,
    plain,
    short_paths,
    shown_metrics,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (31.2345, "31.2"),
        (0.0123456, "0.0123"),
        (1234.5, "1,234"),
        (9.996, "10.00"),
        (0.0, "0"),
        (-5.5, "-5.50"),
        (None, "\u2013"),
        (float("nan"), "\u2013"),
        (float("inf"), "\u2013"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_estimate_lines_its_interval_up_with_its_mean() -> None:
    assert estimate_text(Estimate(3, 31.24, 0.449)) == "31.2 \u00b1 0.4"
    assert estimate_text(Estimate(1, 31.24, None)) == "31.2"
    assert estimate_text(Estimate(0, None, None)) == "\u2013"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.85, "850 ms"), (12.34, "12.3 s"), (245, "4 min 5 s"), (7383, "2 h 3 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_metrics_come_in_the_order_of_reports_with_unit_and_direction() -> None:
    found = shown_metrics(["zeta_bytes", "output_tokens_per_s", "ttft_ms_p99", "ttft_ms_p50"])
    assert [metric.title for metric in found] == [
        "TTFT p50 (ms)",
        "TTFT p99 (ms)",
        "Output (tok/s)",
        "Zeta (B)",
    ]
    assert [metric.lower for metric in found] == [True, True, False, None]


def test_paths_are_as_short_as_keeps_them_apart() -> None:
    paths = ["stack.router.config", "workload.output_len", "a.x.n", "b.x.n", "n"]
    assert short_paths(paths) == {
        "stack.router.config": "config",
        "workload.output_len": "output_len",
        "a.x.n": "a.x.n",
        "b.x.n": "b.x.n",
        "n": "n",
    }


def test_levels_sort_numbers_by_size_then_texts_then_what_is_absent() -> None:
    labels = ["none", "1000", None, "20/s", "3", "nan"]
    assert sorted(labels, key=natural) == ["3", "1000", "20/s", "nan", "none", None]


@given(st.text())
def test_plain_text_cannot_steer_a_terminal(text: str) -> None:
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in plain(text))
