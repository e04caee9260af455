from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.report.capacity import Loads, loads
from llmatrix.report.headline import findings, held_text, load_text
from llmatrix.report.summary import Summary
from llmatrix.report.tradeoffs import tradeoffs
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, write_manifest
from llmatrix.results.record import Record
from llmatrix.results.records import write_record

Figures = dict[tuple[str, float], tuple[float, ...]]
"""TTFT of each replicate, by picker and rate."""
TWO: Figures = {
    ("fast", 10): (20, 21, 22),
    ("fast", 20): (40, 41, 42),
    ("fast", 30): (60, 61, 62),
    ("slow", 10): (30, 31, 32),
    ("slow", 20): (90, 91, 92),
    ("slow", 30): (190, 191, 192),
}


@pytest.fixture
def sweep(
    tmp_path: Path, synthetic: Callable[..., Any], record_of: Callable[..., Record]
) -> Callable[..., Summary]:
    """Write an experiment whose load was varied; ``overloaded`` loads have no valid trial."""

    def write(
        figures: Figures, *, kind: str = "rate", overloaded: tuple[float, ...] = (), **slo: float
    ) -> Summary:
        store = FolderStore(tmp_path)
        shape = synthetic(name="sweep")
        count = 0
        for (picker, rate), values in figures.items():
            for replicate, value in enumerate(values):
                count += 1
                checks = [Check("backlog_growth", 0.5, "<= 0.05 of arrivals", Verdict.FAIL)]
                levels = {"stack.router.config": picker, f"workload.load.{kind}": f"{rate:g}"}
                record = record_of(
                    shape,
                    1,
                    levels,
                    replicate,
                    trial=f"{count:020}",
                    traffic_seed=replicate,
                    document={
                        "model": {"name": "m"},
                        "stack": {"kind": "process", "router": {"config": picker}},
                        "workload": {"load": {kind: rate}},
                    },
                    metrics={
                        "ttft_ms_p50": value,
                        "itl_ms_p50": 8.0 + value / 100,
                        "output_tokens_per_s": 100.0 * rate - value,
                        "output_tokens_per_s_per_accelerator": 25.0 * rate - value,
                        "output_tokens_per_s_per_user": 1000 / (8.0 + value / 100),
                    },
                    withheld={},
                    checks=checks if rate in overloaded else [],
                )
                write_record(store, record, {})
        write_manifest(store, Manifest(name="sweep", slo=dict(slo)))
        return Summary(load(store, "sweep"))

    return write


def varied(summary: Summary) -> Loads:
    found = loads(summary)
    assert found is not None
    return found


def test_the_load_is_the_number_that_was_asked_for(sweep: Callable[..., Summary]) -> None:
    found = varied(sweep(TWO))
    assert (found.kind, found.unit, found.factors) == ("rate", "req/s", (1,))
    assert found.asked == (10.0, 20.0, 30.0, 10.0, 20.0, 30.0)
    assert [each.levels for each in found.capacities] == [("fast", None), ("slow", None)]


def test_without_two_loads_there_is_none(
    sweep: Callable[..., Summary], summarize: Callable[[Any], Summary], synthetic: Any
) -> None:
    assert loads(sweep({("fast", 10): (1.0,), ("slow", 10): (2.0,)})) is None
    assert loads(summarize(synthetic(replicates=1, requests=5))) is None


def test_the_held_load_lies_between_the_measured_ones(sweep: Callable[..., Summary]) -> None:
    found = varied(sweep(TWO, ttft_p50=0.051))
    fast, slow = found.capacities
    held = fast.held["ttft_ms_p50"]
    assert held.load == pytest.approx(25.0)
    assert held.low is not None
    assert held.high is not None
    assert 23 < held.low < 25 < held.high < 27
    assert slow.held["ttft_ms_p50"].load == pytest.approx(10 + 10 * 20 / 60)
    assert load_text(fast, "req/s").startswith("25.0 (23.")


def test_the_first_objective_to_give_way_binds(sweep: Callable[..., Summary]) -> None:
    found = varied(sweep(TWO, ttft_p50=0.051, itl_p50=1.0))
    fast, _ = found.capacities
    assert fast.binding is not None
    assert fast.binding[0] == "ttft_ms_p50"
    assert held_text(fast.held["itl_ms_p50"], "req/s") == "at least 30.0 req/s"


def test_an_overloaded_load_holds_nothing(sweep: Callable[..., Summary]) -> None:
    found = varied(sweep(TWO, overloaded=(30,), ttft_p50=1.0))
    fast, _ = found.capacities
    held = fast.held["ttft_ms_p50"]
    assert (held.load, held.at_least) == (20.0, False)


def test_no_measured_load_may_hold_it(sweep: Callable[..., Summary]) -> None:
    found = varied(sweep(TWO, ttft_p50=0.001))
    assert load_text(found.capacities[0], "req/s") == "none of the measured loads"


def test_the_headline_leads_with_the_load_that_holds(sweep: Callable[..., Summary]) -> None:
    first, *_ = findings(sweep(TWO, ttft_p50=0.051))
    assert first.sure
    assert first.claim == "Highest rate that holds TTFT p50 \u2264 51 ms"
    assert first.winner == "fast"
    assert first.figure.startswith("25.0 (23.")
    assert first.against.startswith("1.9\u00d7 that of slow, 13.3 (")


def test_without_replicates_the_headline_is_not_sure(sweep: Callable[..., Summary]) -> None:
    first, *_ = findings(sweep({key: part[:1] for key, part in TWO.items()}, ttft_p50=0.051))
    assert not first.sure
    assert first.claim.startswith("No clear leader in the rate")
    assert first.against.endswith("not told apart")


def test_concurrency_is_a_load_too(sweep: Callable[..., Summary]) -> None:
    found = varied(sweep(TWO, kind="concurrency", ttft_p50=0.051))
    assert (found.kind, found.unit) == ("concurrency", "in flight")


def test_each_configuration_has_its_knee(sweep: Callable[..., Summary]) -> None:
    _, slow = varied(sweep(TWO)).capacities
    assert slow.knee is not None
    assert (slow.knee.load, slow.knee.at_edge) == (10.0, True)


def test_the_trade_off_of_users_and_machines_comes_first(sweep: Callable[..., Summary]) -> None:
    first, *others = tradeoffs(sweep(TWO))
    assert (first.x.name, first.y.name) == (
        "output_tokens_per_s_per_user",
        "output_tokens_per_s_per_accelerator",
    )
    on = {place for place, point in first.points.items() if point.on_front}
    assert on == {0, 1, 2}
    assert first.points[2].share == 1.0
    assert "output_tokens_per_s" not in {each.y.name for each in others if each.x == first.x}
