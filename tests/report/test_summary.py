from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.report.headline import findings, lead
from llmatrix.report.summary import Kept, Summary
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, write_manifest
from llmatrix.results.record import Record
from llmatrix.results.records import write_record

PICKERS = {"stack.router.config": ["none", "kv"], "workload.question_len": ["100", "1000"]}


class Figures:
    """An experiment whose one metric is written down figure by figure."""

    def __init__(self, root: Path, shape: Any, record_of: Callable[..., Record]) -> None:
        self._store = FolderStore(root)
        self._shape = shape
        self._record_of = record_of
        self._count = 0

    def add(
        self, picker: str, question: str, *figures: float | None, metric: str = "ttft_ms_p50"
    ) -> None:
        levels = {"stack.router.config": picker, "workload.question_len": question}
        for replicate, figure in enumerate(figures):
            self._count += 1
            changes = {
                "trial": f"{self._count:020}",
                "traffic_seed": replicate,
                "metrics": {metric: figure},
                "withheld": {},
            }
            write_record(
                self._store, self._record_of(self._shape, 1, levels, replicate, **changes), {}
            )

    def summary(self, factors: dict[str, list[str]] | None = None, **slo: float) -> Summary:
        manifest = Manifest(name=self._shape.name, slo=dict(slo), factors=factors or {})
        write_manifest(self._store, manifest)
        return Summary(load(self._store, self._shape.name))


@pytest.fixture
def figures(
    tmp_path: Path, synthetic: Callable[..., Any], record_of: Callable[..., Record]
) -> Figures:
    return Figures(tmp_path, synthetic(name="e"), record_of)


def test_treatments_gather_their_replicates_in_the_order_of_levels(
    summarize: Callable[[Any], Summary], synthetic: Callable[..., Any]
) -> None:
    summary = summarize(synthetic(requests=5, invalid=lambda number: number == 0))
    assert [t.levels for t in summary.treatments][:3] == [
        ("kv", "100"),
        ("kv", "1000"),
        ("none", "100"),
    ]
    none = summary.treatments[2]
    assert (len(none.records), len(none.valid)) == (3, 2)
    assert none.estimate("ttft_ms_p50").n == 2
    assert none.withheld("ttft_ms_p99") == "p99 needs 662 samples; there are 180"
    assert [record.valid for record in summary.invalid] == [False]


def test_levels_come_in_the_order_of_the_file_and_others_after_them(figures: Figures) -> None:
    for picker in ("zeta", "alpha", "kv", "none"):
        figures.add(picker, "100", 1.0)
    summary = figures.summary({"stack.router.config": ["none", "zeta", "never run"]})
    assert summary.levels_of(0) == ("none", "zeta", "alpha", "kv")
    assert [t.levels[0] for t in summary.treatments] == ["none", "zeta", "alpha", "kv"]


def test_levels_are_compared_only_where_all_were_measured(figures: Figures) -> None:
    figures.add("kv", "100", 10, 12)
    figures.add("none", "100", 30, 32)
    figures.add("none", "1000", 300, 320)
    summary = figures.summary()
    (effect, _) = summary.effects
    assert effect.estimates["none", "ttft_ms_p50"].mean == pytest.approx(31)
    assert effect.estimates["kv", "ttft_ms_p50"].mean == pytest.approx(11)
    assert effect.hint("kv", "ttft_ms_p50") == "\u2190"
    assert effect.hint("none", "ttft_ms_p50") == ""


def test_levels_without_common_ground_are_not_compared(figures: Figures) -> None:
    figures.add("kv", "100", 10, 12)
    figures.add("none", "1000", 30, 32)
    summary = figures.summary()
    assert summary.effects[0].estimates["kv", "ttft_ms_p50"].mean is None
    assert findings(summary) == []
    assert lead(summary) == (
        "No workload was measured validly under every configuration, so none leads."
    )


def test_the_headline_names_the_winner_its_margin_and_the_ground(figures: Figures) -> None:
    for question, slower in (("100", 1), ("1000", 3)):
        figures.add("kv", question, 30 * slower, 31 * slower, 32 * slower)
        figures.add("none", question, 62 * slower, 60 * slower, 64 * slower)
    (finding,) = findings(figures.summary())
    assert finding.sure
    assert finding.sentence == (
        "Lowest TTFT p50: kv at 62.0 \u00b1 5.0 ms, 2\u00d7 (1.8\u20132.2) below none (124 ms), "
        "averaged over 2 workloads."
    )


def test_a_difference_within_its_interval_is_no_win(figures: Figures) -> None:
    figures.add("kv", "100", 30, 34, 38)
    figures.add("none", "100", 31, 35, 38)
    (finding,) = findings(figures.summary())
    assert not finding.sure
    assert finding.claim == "No clear leader in TTFT p50"
    assert finding.against == "not distinguishable from none (34.7 ms)"


def test_one_replicate_is_no_proof(figures: Figures) -> None:
    figures.add("kv", "100", 30)
    figures.add("none", "100", 60)
    summary = figures.summary()
    (finding,) = findings(summary)
    assert not finding.sure
    assert "one replicate, so no interval" in finding.sentence


def test_a_level_with_one_replicate_is_not_laid_to_the_best(figures: Figures) -> None:
    figures.add("kv", "100", 30, 31)
    figures.add("none", "100", 60)
    (finding,) = findings(figures.summary())
    assert not finding.sure
    assert "not all of them have two valid replicates" in finding.sentence
    assert "one replicate, so" not in finding.sentence


def test_a_small_margin_is_a_percentage(figures: Figures) -> None:
    figures.add("kv", "100", 90.0, 90.1, 89.9)
    figures.add("none", "100", 100.0, 100.1, 99.9)
    (finding,) = findings(figures.summary())
    assert finding.against == "10 % below none (100 ms)"


def test_a_ratio_to_nothing_is_not_told(figures: Figures) -> None:
    figures.add("kv", "100", 0.0, 0.0, metric="output_tokens_per_s")
    figures.add("none", "100", 5.0, 5.0, metric="output_tokens_per_s")
    (finding,) = findings(figures.summary())
    assert finding.against == "against kv (0 tok/s)"


@pytest.mark.parametrize(
    ("replicates", "verdict"),
    [
        ((30.0, 31.0, 32.0), Kept.YES),
        ((90.0, 91.0, 92.0), Kept.NO),
        ((48.0, 50.0, 52.0), Kept.UNSURE),
        ((50.0,), Kept.YES),
        ((50.1,), Kept.NO),
        ((None,), Kept.UNKNOWN),
    ],
)
def test_objectives_are_held_against_the_interval(
    figures: Figures, replicates: tuple[float | None, ...], verdict: Kept
) -> None:
    figures.add("kv", "100", *replicates)
    summary = figures.summary(ttft_p50=0.05)
    (objective,) = summary.objectives
    assert (objective.metric.label, objective.limit_ms) == ("TTFT p50", 50.0)
    assert objective.judge(summary.treatments[0]) is verdict


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"factors": {"a.b": []}}, "No trial has been measured yet."),
        ({"failing": lambda _: True}, "All 18 trials failed."),
        ({"invalid": lambda _: True}, "No figure can be trusted: all 18 trials are invalid."),
        ({"factors": {}, "replicates": 1}, "One treatment was measured: TTFT p50"),
    ],
)
def test_the_lead_says_what_there_is_to_say(
    summarize: Callable[[Any], Summary], synthetic: Callable[..., Any], changes: Any, sentence: str
) -> None:
    assert lead(summarize(synthetic(requests=5, **changes))).startswith(sentence)


def test_only_workload_factors_are_compared_by_themselves(
    summarize: Callable[[Any], Summary], synthetic: Callable[..., Any]
) -> None:
    shape = synthetic(requests=5, factors={"workload.question_len": ["100", "1000"]})
    assert findings(summarize(shape))[0].winner == "question_len 100"
