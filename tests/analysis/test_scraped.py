"""What servers said of themselves, as figures: from series of which the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.analysis.definitions import SCRAPED
from llmatrix.analysis.scraped import simulator_late, summarise
from llmatrix.columns import SERVER_COLUMNS, arrow_schema

WINDOW = (10.0, 20.0)
USAGE, WAITING = "vllm:kv_cache_usage_perc", "vllm:num_requests_waiting"
OUTPUT, LATE = "vllm:generation_tokens_total", "llmatrix_sim_late_steps_total"
STEPS = "llmatrix_sim_step_lateness_seconds_count"


def table(*series: tuple[str, str, Callable[[float], float]], labels: str = "") -> pa.Table:
    """Scrape every second from 5 to 25 s; each series is a server, a metric and its values."""
    rows: list[dict[str, Any]] = [
        {"at_s": float(at), "server": server, "metric": metric, "labels": labels, "value": of(at)}
        for at in range(5, 26)
        for server, metric, of in series
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(SERVER_COLUMNS))


def figures(scraped: pa.Table | None, **more: Any) -> dict[str, float | None]:
    told = summarise(scraped, window_s=WINDOW, **more)
    assert set(told) == {metric.name for metric in SCRAPED}
    assert all(bool(why) is (value is None) for value, why in told.values())
    return {name: value for name, (value, _) in told.items()}


def test_nothing_scraped_is_withheld_with_a_reason() -> None:
    assert set(figures(None).values()) == {None}
    assert set(figures(table()).values()) == {None}


def test_gauges_are_averaged_over_window_and_servers() -> None:
    found = figures(
        table(
            ("a:1", USAGE, lambda at: at / 100),
            ("b:1", USAGE, lambda at: 0.9 if at in (5, 25) else 0.35),
            ("a:1", WAITING, lambda at: 4.0 if at == 12 else 0.0),
            ("b:1", WAITING, lambda _: 2.0),
        )
    )
    assert found["kv_cache_usage_mean"] == pytest.approx((0.15 + 0.35) / 2)
    assert found["kv_cache_usage_max"] == pytest.approx(0.35)
    assert found["server_queue_mean"] == pytest.approx((4 / 11 + 2) / 2)
    assert found["server_queue_max"] == 4.0


def test_counters_count_between_the_first_and_the_last_scrape_of_the_window() -> None:
    found = figures(
        table(
            ("a:1", "vllm:prefix_cache_queries_total", lambda at: 100 * at),
            ("a:1", "vllm:prefix_cache_hits_total", lambda at: 60 * at + 7),
            ("b:1", "vllm:prefix_cache_queries_total", lambda at: 300 * at),
            ("b:1", "vllm:prefix_cache_hits_total", lambda _: 9.0),
            ("a:1", OUTPUT, lambda at: 30 * at),
            ("b:1", OUTPUT, lambda at: 10 * at),
            ("a:1", "vllm:num_preemptions_total", lambda at: float(at > 15)),
        )
    )
    assert found["server_prefix_hit_ratio"] == pytest.approx(60 / 400)
    assert found["server_output_spread"] == pytest.approx(1.5)
    assert found["server_preemptions"] == 1.0


def test_a_counter_that_fell_tells_nothing() -> None:
    found = figures(table(("a:1", OUTPUT, lambda at: at if at < 15 else at - 15)))
    assert found["server_output_spread"] is None


def test_servers_that_only_prefill_are_in_no_figure() -> None:
    both = table(("p:1", USAGE, lambda _: 1.0), ("d:1", USAGE, lambda _: 0.2))
    assert figures(both, prefills={"p:1"})["kv_cache_usage_mean"] == pytest.approx(0.2)


def test_labels_are_added_for_counters_and_averaged_for_usage() -> None:
    series = [("a:1", USAGE, lambda _: 0.5), ("a:1", OUTPUT, lambda at: 10 * at)]
    other = table(*series, ("b:1", OUTPUT, lambda at: 60 * at), labels="e=1")
    found = figures(pa.concat_tables([table(*series, labels="e=0"), other]))
    assert found["kv_cache_usage_mean"] == pytest.approx(0.5)
    assert found["server_output_spread"] == pytest.approx(60 / 40)


@pytest.mark.parametrize("prefix", ["inference_extension_", "llm_d_epp_"])
def test_the_picker_is_told_by_the_names_of_both_makers(prefix: str) -> None:
    picking = f"{prefix}scheduler_e2e_duration_seconds"
    believed = f"{prefix}prefix_indexer_hit_ratio"
    found = figures(
        table(
            ("e:1", f"{picking}_sum", lambda at: 0.004 * at),
            ("e:1", f"{picking}_count", lambda at: 2.0 * at),
            ("e:1", f"{believed}_sum", lambda at: 0.5 * at),
            ("e:1", f"{believed}_count", lambda at: 2.0 * at),
        )
    )
    assert found["picker_ms_mean"] == pytest.approx(2.0)
    assert found["picker_prefix_hit_ratio"] == pytest.approx(0.25)


def late(share: float, *, steps: int = 1000, simulated: bool = True) -> list[Check]:
    per_s = steps / 10
    scraped = table(
        ("a:1", STEPS, lambda at: per_s * at), ("a:1", LATE, lambda at: per_s * at * share)
    )
    return simulator_late(scraped, WINDOW, simulated=simulated)


@pytest.mark.parametrize(
    ("share", "steps", "verdict"),
    [
        (0.0, 1000, Verdict.PASS),
        (0.01, 1000, Verdict.PASS),
        (0.03, 1000, Verdict.FAIL),
        (0.02, 50, Verdict.WARN),  # one of 50 is chance
    ],
)
def test_a_simulator_that_was_starved_fails(share: float, steps: int, verdict: Verdict) -> None:
    (check,) = late(share, steps=steps)
    assert (check.name, check.verdict) == ("simulator_late", verdict)
    assert check.figure == pytest.approx(share)
    assert check.limit == "<= 0.01 of steps"
    assert ("starved" in check.advice) is (verdict is not Verdict.PASS)


def test_real_servers_are_no_simulators_and_a_simulator_that_tells_nothing_is_unknown() -> None:
    assert simulator_late(table(("a:1", USAGE, lambda _: 0.1)), WINDOW, simulated=False) == []
    assert simulator_late(None, WINDOW, simulated=False) == []
    for scraped in (None, table()):
        (check,) = simulator_late(scraped, WINDOW, simulated=True)
        assert check.verdict is Verdict.UNKNOWN
    # An endpoint that is a simulator says so by its metrics.
    assert late(0.5, simulated=False)[0].verdict is Verdict.FAIL
