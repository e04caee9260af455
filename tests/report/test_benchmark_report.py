"""Benchmark Report v0.2.1: what is written, and that the published schema takes it.

The schema belongs to llm-d-benchmark and is not kept here. With
``LLMATRIX_BENCHMARK_REPORT_SCHEMA=br_v0_2_1_json_schema.json`` (of that repository) every report
is validated against it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.report.benchmark_report import write_reports
from llmatrix.results.dataset import Dataset, load
from llmatrix.results.folder import FolderStore

SCHEMA = os.environ.get("LLMATRIX_BENCHMARK_REPORT_SCHEMA")


@pytest.fixture
def reports(
    synthesize: Callable[[Any], Path], synthetic: Any, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Write an experiment and its reports; give the reports by trial, and keep the dataset."""

    def make(**shape: Any) -> dict[str, Any]:
        dataset = dataset_of(synthesize(synthetic(**shape)))
        assert list(write_reports(dataset, tmp_path / "reports")) == []
        found = (tmp_path / "reports").glob("*.json")
        return {path.stem: json.loads(path.read_bytes()) for path in found}

    return make


def dataset_of(folder: Path) -> Dataset:
    return load(FolderStore(folder.parent), folder.name)


def conforms(report: dict[str, Any]) -> None:
    if SCHEMA is None:
        pytest.skip("no LLMATRIX_BENCHMARK_REPORT_SCHEMA: the published schema is not at hand")
    validation = pytest.importorskip("jsonschema")
    schema = json.loads(Path(SCHEMA).read_bytes())
    validation.validate(report, schema, cls=validation.Draft202012Validator)


def test_every_trial_has_a_report_with_its_figures(reports: Callable[..., dict[str, Any]]) -> None:
    found = reports(replicates=2)
    assert len(found) == 12
    for trial, report in found.items():
        assert (report["version"], report["run"]["uid"]) == ("0.2.1", trial)
        assert report["run"]["eid"] == "synthetic"
        assert "simulated" in report["run"]["keywords"]
        assert report["run"]["time"]["duration"] == "PT17.000S"
        engine, router = report["scenario"]["stack"]
        assert engine["standardized"]["kind"] == "inference_engine"
        assert engine["standardized"]["accelerator"]["count"] == 4
        assert router["standardized"] == {
            "kind": "generic",
            "kind_draft": "router",
            "tool": "simulated",
            "tool_version": "simulated-1",
        }


def test_latencies_are_in_seconds_and_honest(reports: Callable[..., dict[str, Any]]) -> None:
    (report,) = reports(factors={"stack.router.config": ["prefix"]}, replicates=1).values()
    performance = report["results"]["request_performance"]["aggregate"]
    ttft = performance["latency"]["time_to_first_token"]
    assert ttft["units"] == "s"
    assert 0.02 < ttft["p50"] < 0.06
    assert ttft["min"] <= ttft["p10"] <= ttft["p50"] <= ttft["p90"] <= ttft["max"]
    assert "p99" not in ttft  # 662 requests are needed, and there are 180 or so
    gaps = performance["latency"]["inter_token_latency"]
    assert gaps["units"] == "s/token"
    assert gaps["mean"] == pytest.approx(0.008, rel=0.1)
    assert "p99" not in gaps  # thousands of gaps, but no more requests
    assert performance["requests"]["failures"] == 0
    assert 150 < performance["requests"]["total"] < 200
    rates = performance["throughput"]
    assert rates["output_token_rate"]["units"] == "tokens/s"
    assert rates["request_rate"]["mean"] == pytest.approx(20, rel=0.1)


def test_an_invalid_trial_says_so(reports: Callable[..., dict[str, Any]]) -> None:
    found = reports(replicates=1, invalid=lambda number: number == 0)
    invalid = [r for r in found.values() if "invalid" in r["run"]["keywords"]]
    assert len(invalid) == 1
    assert "invalid (dispatch_lag_ms_p99): not to be trusted" in invalid[0]["run"]["description"]
    trust = invalid[0]["results"]["observability"]["llmatrix"]
    assert trust["valid"] is False
    assert trust["checks"][0]["verdict"] == "fail"


def test_a_trial_without_requests_is_told(
    synthesize: Callable[[Any], Path], synthetic: Any, tmp_path: Path
) -> None:
    folder = synthesize(synthetic(replicates=1))
    lost = min(folder.glob("*/requests.parquet"))
    lost.unlink()
    told = list(write_reports(dataset_of(folder), tmp_path / "reports"))
    assert len(told) == 1
    assert lost.parent.name in told[0]
    assert not (tmp_path / "reports" / f"{lost.parent.name}.json").exists()


def test_synthetic_reports_conform_to_the_published_schema(
    reports: Callable[..., dict[str, Any]],
) -> None:
    for report in reports(replicates=1, invalid=lambda number: number == 0).values():
        conforms(report)


@pytest.mark.slow
def test_reports_of_a_real_run_conform_to_the_published_schema(place: Any) -> None:
    workload = {
        "kind": "shared-prefix",
        "groups": 2,
        "prefix_len": 16,
        "question_len": 8,
        "output_len": 4,
        "load": {"concurrency": 2},
        "warmup": 0,
        "duration": "300ms",
    }
    place.write(workload=workload, matrix={"stack.router.config": ["router/prefix.yaml"]})
    assert place("run", "e.yaml").code in {0, 1}  # so short a trial may well be invalid
    said = place("export", "results", "--benchmark-report", "reports")
    assert said.code == 0, said.err
    assert said.out == "reports: 1 benchmark reports\n"
    (path,) = (place.folder / "reports").glob("*.json")
    report = json.loads(path.read_bytes())
    load = report["scenario"]["load"]["standardized"]
    assert load["concurrency"] == 2
    assert load["input_seq_len"] == {"distribution": "fixed", "value": 24.0}
    assert load["prefix"]["num_groups"] == 2
    again = place("export", "results", "--benchmark-report", "reports")
    assert again.code == 2
    assert "reports is not empty" in again.err
    conforms(report)
