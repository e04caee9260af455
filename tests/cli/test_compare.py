"""``llmatrix compare`` as a user and a CI job call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Record
from llmatrix.results.records import write_failure, write_record

Change = Callable[[dict[str, str], int, dict[str, Any]], dict[str, Any]]
INVALID = [Check("errors_ratio", 0.2, "<= 1 %", Verdict.FAIL)]


@pytest.fixture
def measured(
    place: Any,
    synthetic: Any,
    record_of: Callable[..., Record],
) -> Callable[..., Any]:
    """Write an experiment whose treatments share traffic as real ones do.

    ``change(levels, replicate, fields)`` gives fields of the record to replace.
    """

    def write(name: str, *, seed: int = 7, change: Change | None = None, **shape: Any) -> Any:
        made = synthetic(name=name, seed=seed, **shape)
        store = FolderStore(place.folder / "results")
        for number, (levels, replicate) in enumerate(made.trials()):
            question = levels.get("workload.question_len", "")
            record = record_of(
                made,
                number,
                levels,
                replicate,
                traffic_seed=crc32(f"{question}{replicate}".encode()),
            )
            fields = record.model_dump()
            fields |= change(levels, replicate, fields) if change else {}
            write_record(store, Record.model_validate(fields), {})
        return made

    return write


def slower(share: float, metric: str = "ttft_ms_p50") -> Change:
    def change(levels: dict[str, str], replicate: int, fields: dict[str, Any]) -> dict[str, Any]:
        del levels, replicate
        metrics = fields["metrics"]
        return {"metrics": {**metrics, metric: metrics[metric] * (1 + share)}}

    return change


def test_the_same_again_is_no_regression(place: Any, measured: Callable[..., Any]) -> None:
    measured("main")
    measured("branch", seed=8)
    said = place("compare", "results/main", "results/branch")
    assert said.code == 0, said.err
    assert "No regression beyond the threshold is seen, with 95 % confidence" in said.out
    assert "not told apart" in said.out
    assert "worse" not in said.out
    assert "6 treatments that both have, averaged, paired by common traffic; simulated" in (
        " ".join(said.out.split())
    )


def test_a_regression_ends_with_1(place: Any, measured: Callable[..., Any]) -> None:
    measured("main")
    measured("branch", seed=8, change=slower(0.12))
    said = place("compare", "results/main", "results/branch")
    assert said.code == 1
    assert "worse by > 5 %" in said.out
    assert "more than the threshold in TTFT p50, with 95 % confidence" in " ".join(said.out.split())
    baseline = place("compare", "results/branch", "--baseline", "results/main")
    assert baseline.code == 1
    assert place("compare", "results/branch", "results/main").code == 0  # the other way, better
    wide = place("compare", "results/main", "results/branch", "--threshold", "20%")
    assert wide.code == 0
    assert "worse" in wide.out  # surely worse, but not by so much
    own = ("--threshold", "1%", "--threshold", "ttft_ms_p50=0.2")
    assert place("compare", "results/main", "results/branch", *own).code == 0


def test_a_throughput_that_falls_is_a_regression(place: Any, measured: Callable[..., Any]) -> None:
    measured("main")
    measured("branch", seed=8, change=slower(-0.2, "output_tokens_per_s"))
    said = place("compare", "results/main", "results/branch", "--metric", "output_tokens_per_s")
    assert said.code == 1
    assert said.out.count("tok/s") == 1


def test_json_tells_everything(place: Any, measured: Callable[..., Any]) -> None:
    measured("main")
    measured("branch", seed=8, change=slower(0.12))
    said = place("compare", "results/main", "results/branch", "--json")
    assert said.code == 1
    told = json.loads(said.out)
    assert (told["version"], told["judged"], told["regressions"]) == (1, True, 1)
    assert told["a"]["place"].endswith("results/main")
    assert told["simulated"] is True
    row = next(row for row in told["rows"] if row["metric"] == "ttft_ms_p50")
    assert (row["verdict"], row["regression"], row["better"]) == ("worse", True, "lower")
    assert row["change"] == pytest.approx(0.12, abs=0.03)
    assert row["change_interval"][0] < row["change"] < row["change_interval"][1]
    assert row["p"] <= row["p_adjusted"] <= 0.05
    assert row["paired"] is True


def test_markdown_is_a_table_that_names_cannot_break(
    place: Any, measured: Callable[..., Any]
) -> None:
    hostile = {"stack.router.config": ["<script>|`a`", "kv"]}
    measured("main", factors=hostile)
    measured("branch", seed=8, factors=hostile)
    said = place("compare", "results/main", "results/branch", "--markdown", "--each")
    assert said.code == 0, said.err
    rows = [line for line in said.out.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {9}
    assert "<script>" not in said.out
    assert "&lt;script&gt;\\|\\`a\\`" in said.out


def test_two_levels_within_one_experiment(place: Any, measured: Callable[..., Any]) -> None:
    measured("main")
    levels = ("--a", "config=none", "--b", "config=prefix")
    said = place("compare", "results/main", *levels, "--metric", "ttft_ms_p50", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["a"]["chosen"] == {"stack.router.config": ["none"]}
    assert told["treatments"] == 2
    (row,) = told["rows"]
    assert (row["verdict"], row["treatments"]) == ("better", 2)
    assert told["differs"] == ["stack.router.config.text: kind: none \u2192 kind: prefix"]
    each = place("compare", "results/main", *levels, "--each", "--json")
    assert {row["treatment"] for row in json.loads(each.out)["rows"]} == {
        "question_len=100",
        "question_len=1000",
    }
    only = place("compare", "results/main", *levels, "--only", "question_len=100", "--json")
    assert json.loads(only.out)["treatments"] == 1


def test_invalid_trials_are_counted_and_never_used(
    place: Any, measured: Callable[..., Any], failure_of: Callable[..., Any]
) -> None:
    def some_invalid(
        levels: dict[str, str], replicate: int, fields: dict[str, Any]
    ) -> dict[str, Any]:
        if replicate or levels["stack.router.config"] != "kv":
            return {}
        return {"checks": INVALID, "metrics": {**fields["metrics"], "ttft_ms_p50": 1e9}}

    measured("main")
    made = measured("branch", seed=8, change=some_invalid)
    lost = failure_of(made, {"stack.router.config": "x", "workload.question_len": "100"}, 0)
    write_failure(FolderStore(place.folder / "results"), lost)
    said = place("compare", "results/main", "results/branch")
    assert said.code == 0, said.out
    assert "B: 2 invalid trials of 18 left out (errors_ratio)" in said.out
    assert "B: 1 trial could not be measured" in said.out

    def all_kv_invalid(
        levels: dict[str, str], replicate: int, fields: dict[str, Any]
    ) -> dict[str, Any]:
        del replicate, fields
        return {"checks": INVALID} if levels["stack.router.config"] == "kv" else {}

    measured("worse", seed=9, change=all_kv_invalid)
    said = place("compare", "results/main", "results/worse", "--json")
    told = json.loads(said.out)
    assert told["treatments"] == 4
    assert "only A has valid trials of config=kv question_len=100" in told["notes"]
    measured("none", seed=9, change=lambda *_: {"checks": INVALID})
    said = place("compare", "results/main", "results/none")
    assert said.code == 2
    assert "has no valid trial: all 18 failed a check (errors_ratio)" in said.err


def test_a_treatment_of_one_replicate_is_left_out_and_told(
    place: Any, measured: Callable[..., Any]
) -> None:
    def one_left(levels: dict[str, str], replicate: int, fields: dict[str, Any]) -> dict[str, Any]:
        del fields
        alone = levels == {"stack.router.config": "kv", "workload.question_len": "100"}
        return {"checks": INVALID} if alone and replicate else {}

    measured("main")
    measured("branch", seed=8, change=one_left)
    said = place("compare", "results/main", "results/branch", "--json")
    assert said.code == 0
    told = json.loads(said.out)
    assert {row["treatments"] for row in told["rows"]} == {5}
    assert any(
        note.endswith("fewer than two valid replicates on a side: config=kv question_len=100")
        for note in told["notes"]
    )


def test_without_replicates_there_is_no_verdict_and_no_green_light(
    place: Any, measured: Callable[..., Any]
) -> None:
    measured("main", replicates=1)
    measured("branch", seed=8, replicates=1, change=slower(3.0))
    said = place("compare", "results/main", "results/branch")
    assert said.code == 2
    assert "not judged" in said.out
    assert "no verdict: it takes two valid replicates" in said.err


def test_different_workloads_are_refused_unless_told(
    place: Any, measured: Callable[..., Any]
) -> None:
    def longer(levels: dict[str, str], replicate: int, fields: dict[str, Any]) -> dict[str, Any]:
        del levels
        document = fields["document"]
        workload = {**document["workload"], "duration": 30.0, "seed": 4}
        return {"document": {**document, "workload": workload}, "traffic_seed": 999 + replicate}

    measured("main")
    measured("branch", seed=8, change=longer)
    said = place("compare", "results/main", "results/branch")
    assert said.code == 2
    assert said.err == (
        "error: the same treatments were measured under different workloads: workload.duration is "
        "absent in A and 30.0 in B. To compare them all the same: --allow workload\n"
    )
    allowed = place("compare", "results/main", "results/branch", "--allow", "workload")
    assert allowed.code == 0
    assert "on different traffic" in allowed.out
    assert "differs: workload.duration: absent \u2192 30.0" in allowed.out


def test_another_harness_or_a_simulation_is_refused_unless_told(
    place: Any, measured: Callable[..., Any]
) -> None:
    measured("main")
    versions = {"harness": "native-2", "stack": "simulated-1"}
    measured("branch", seed=8, change=lambda *_: {"versions": versions})
    said = place("compare", "results/main", "results/branch")
    assert said.code == 2
    assert "measured by different versions of the harness: versions.harness is native-1 in A" in (
        said.err
    )
    assert place("compare", "results/main", "results/branch", "--allow", "harness").code == 0
    measured("real", seed=8, simulated=False)
    said = place("compare", "results/real", "results/main")
    assert said.code == 2
    assert "B is simulated and A is measured on a real server" in said.err
    assert place("compare", "results/real", "results/main", "--allow", "simulated").code == 0


def test_nothing_in_common_names_what_each_has(place: Any, measured: Callable[..., Any]) -> None:
    measured("main", factors={"stack.router.config": ["none", "kv"]})
    measured("other", factors={"stack.router.config": ["prefix", "queue"]})
    said = place("compare", "results/main", "results/other")
    assert said.code == 2
    assert "no valid treatment in common: A has config=kv; config=none. B has config=prefix" in (
        said.err
    )
    chosen = ("--a", "config=none", "--b", "config=prefix")
    assert place("compare", "results/main", "results/other", *chosen).code == 0


def test_a_factor_of_one_side_must_be_chosen(place: Any, measured: Callable[..., Any]) -> None:
    measured("main", factors={"stack.router.config": ["none", "kv"]})
    measured("other", factors={"stack.router.config": ["none", "kv"], "stack.replicas": ["1", "2"]})
    said = place("compare", "results/main", "results/other")
    assert said.code == 2
    assert said.err == (
        "error: B varies stack.replicas (1, 2) and A has no such factor; choose one level: "
        "--b stack.replicas=\u2026\n"
    )
    assert place("compare", "results/main", "results/other", "--b", "replicas=2").code == 0


def test_metrics_in_other_units_are_no_common_metrics(
    place: Any, measured: Callable[..., Any]
) -> None:
    def seconds(levels: dict[str, str], replicate: int, fields: dict[str, Any]) -> dict[str, Any]:
        del levels, replicate
        return {"metrics": {"ttft_s_p50": fields["metrics"]["ttft_ms_p50"] / 1000}, "withheld": {}}

    measured("main")
    measured("branch", seed=8, change=seconds)
    said = place("compare", "results/main", "results/branch")
    assert said.code == 2
    assert "A and B have no metric in common: A tells e2e_ms_p50" in said.err
    assert "B ttft_s_p50; they were recorded in other units" in said.err


def test_a_record_of_a_newer_version_is_told(place: Any, measured: Callable[..., Any]) -> None:
    measured("main")
    measured("branch", seed=8)
    newest = min(Path(place.folder / "results/branch").glob("*/record.json"))
    newest.write_text(json.dumps({**json.loads(newest.read_text()), "version": 9}))
    said = place("compare", "results/main", "results/branch")
    assert said.code == 0
    assert "has version 9, and this llmatrix reads versions up to" in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["results/main", "results/main"], "A and B share trials of"),
        (["results/main"], "one experiment alone: choose what to compare by --a factor=level"),
        (["results/main", "--a", "config=kv"], "one experiment alone: choose"),
        ([], "name two experiments, A and B; or one"),
        (["results/main", "results/branch", "results/main"], "name two experiments"),
        (["--baseline", "results/main"], "name two experiments"),
        (["results/main", "results/nowhere"], "nowhere does not exist"),
        (["results/main", "results/branch", "--threshold", "-5%"], "'-5%' is no share; write 5%"),
        (["results/main", "results/branch", "--threshold", "=5%"], "names no metric"),
        (["results/main", "results/branch", "--confidence", "20%"], "from 50% to below 100%"),
        (["results/main", "results/branch", "--metric", "ttft_p50"], "did you mean ttft_ms_p50?"),
        (["results/main", "results/branch", "--only", "confg=kv"], "did you mean"),
        (
            ["results/main", "--a", "config=kb", "--b", "config=kv"],
            "--a config=kb: 'kb' is no level",
        ),
    ],
)
def test_wrong_input_is_one_clear_sentence(
    place: Any, measured: Callable[..., Any], arguments: list[str], sentence: str
) -> None:
    measured("main", replicates=2)
    measured("branch", seed=8, replicates=2)
    said = place("compare", *arguments)
    assert said.code == 2
    assert sentence in said.err
    assert not said.out
