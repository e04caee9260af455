from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmatrix.analysis.metrics import METRICS, summarise, tokens_delivered

Rows = Callable[..., pa.Table]
WINDOW = (0.0, 10.0)


def test_every_metric_is_told_or_withheld_with_a_reason(rows: Rows) -> None:
    for count in (0, 1, 20, 700):
        found = summarise(rows(np.linspace(0, 9.8, count)), window_s=WINDOW, accelerators=0)
        assert set(found.metrics) == set(METRICS)
        nones = {name for name, value in found.metrics.items() if value is None}
        assert set(found.withheld) == nones
        assert all(found.withheld.values())


def test_latencies_of_a_known_trial(rows: Rows) -> None:
    found = summarise(rows(np.linspace(0, 9.8, 700)), window_s=WINDOW, accelerators=2).metrics
    for name, value in {"ttft_ms": 50, "tpot_ms": 10, "itl_ms": 10, "e2e_ms": 140}.items():
        for statistic in ("mean", "p50", "p90", "p99"):
            assert found[f"{name}_{statistic}"] == pytest.approx(value)


def test_throughput_of_a_known_trial(rows: Rows) -> None:
    found = summarise(rows(np.linspace(0, 9.8, 99)), window_s=WINDOW, accelerators=2).metrics
    assert found["requests_per_s"] == pytest.approx(9.9)
    assert found["output_tokens_per_s"] == pytest.approx(99)
    assert found["output_tokens_per_s_per_accelerator"] == pytest.approx(49.5)
    assert found["input_tokens_per_s"] == pytest.approx(990)
    assert found["output_tokens_per_s_per_user"] == pytest.approx(100)
    assert found["prefix_cache_hit_ratio"] == pytest.approx(0.25)
    assert found["concurrency_mean"] == pytest.approx(99 * 0.14 / 10)
    assert found["requests_completed"] == 99
    assert found["requests_failed"] == 0


def test_tokens_count_where_they_arrive_not_where_their_request_was_sent(rows: Rows) -> None:
    # first tokens at -0.01, then every 10 ms: the events at 0.00, 0.01, ..., 0.08 are inside
    before = rows([-0.0601], lambda _: {"phase": "warmup"})
    assert tokens_delivered(before, WINDOW) == pytest.approx(8)
    across = rows([9.92])  # first at 9.97: 9.97, 9.98, 9.99 are inside
    assert tokens_delivered(across, (0.0, 9.995)) == pytest.approx(3)


def test_an_event_of_several_tokens_counts_as_many(rows: Rows) -> None:
    packed = rows([1.0], lambda _: {"output_tokens": 40})
    assert tokens_delivered(packed, WINDOW) == pytest.approx(40)


def test_throughput_does_not_depend_on_how_the_window_is_cut(rows: Rows) -> None:
    table = rows(np.random.default_rng(0).uniform(0, 10, 200))
    cuts = [0.0, 1.234, 5.0, 7.77, 20.0]
    parts = [tokens_delivered(table, (a, b)) for a, b in pairwise(cuts)]
    assert sum(parts) == pytest.approx(200 * 10)


def test_failed_requests_are_in_no_latency(rows: Rows) -> None:
    def change(n: int) -> dict[str, Any]:
        return {"error": "stream", "ttft_ms": 9e9} if n % 4 == 0 else {}

    found = summarise(rows(np.linspace(0, 9.8, 40), change), window_s=WINDOW, accelerators=1)
    assert found.metrics["ttft_ms_mean"] == pytest.approx(50)
    assert found.metrics["requests_failed"] == 10
    assert found.metrics["requests_completed"] == 30


def test_other_phases_are_in_no_latency(rows: Rows) -> None:
    def change(n: int) -> dict[str, Any]:
        return {"phase": "drain", "ttft_ms": 9e9} if n >= 20 else {}

    found = summarise(rows(np.linspace(0, 12, 40), change), window_s=WINDOW, accelerators=1)
    assert found.metrics["ttft_ms_mean"] == pytest.approx(50)
    assert found.metrics["requests_completed"] == 20


def test_a_silent_server_withholds_cache_hits_and_share(rows: Rows) -> None:
    silent = rows([1.0, 2.0], lambda _: {"cached_tokens": None, "server": None})
    found = summarise(silent, window_s=WINDOW, accelerators=0)
    assert "does not say" in found.withheld["prefix_cache_hit_ratio"]
    assert "no response header" in found.withheld["server_share_max"]
    assert "accelerators" in found.withheld["output_tokens_per_s_per_accelerator"]


def test_the_share_of_the_busiest_replica(rows: Rows) -> None:
    table = rows(np.linspace(0, 9, 10), lambda n: {"server": "b" if n < 7 else "a"})
    found = summarise(table, window_s=WINDOW, accelerators=0)
    assert found.metrics["server_share_max"] == pytest.approx(0.7)


def test_gaps_count_by_request(rows: Rows) -> None:
    found = summarise(rows(np.linspace(0, 9, 63)), window_s=WINDOW, accelerators=0)
    assert found.metrics["itl_ms_p90"] is None
    assert "there are 63" in found.withheld["itl_ms_p90"]


def test_answers_of_one_token_have_no_pace(rows: Rows) -> None:
    one = rows([1.0], lambda _: {"tpot_ms": None, "itl_ms": [], "output_tokens": 1, "chunks": 1})
    found = summarise(one, window_s=WINDOW, accelerators=0)
    assert found.metrics["tpot_ms_mean"] is None
    assert "two tokens" in found.withheld["tpot_ms_mean"]
    assert found.metrics["output_tokens_per_s"] == pytest.approx(0.1)


def test_definitions_are_whole_sentences_with_units() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.definition.endswith(".")
        assert ("_ms_" in name) == (metric.unit == "ms")
