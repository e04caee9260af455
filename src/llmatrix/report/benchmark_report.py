"""One trial as llm-d's Benchmark Report v0.2.1, for tools that read that format.

Percentiles come from the trial's requests and are left out where there are too few of them, as
everywhere here. Whether the trial is valid is told in its keywords and description, and every
check stands under ``results.observability.llmatrix``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from llmatrix.analysis.metrics import floats
from llmatrix.analysis.percentiles import percentile
from llmatrix.errors import StoreFault
from llmatrix.report import benchmark_report_format as form
from llmatrix.results.dataset import Dataset
from llmatrix.results.record import Record
from llmatrix.results.request_tables import REQUESTS, find_requests, request_bytes

_QUANTILES: Final = {
    "p1": 0.01,
    "p5": 0.05,
    "p10": 0.1,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99p9": 0.999,
}
_LATENCIES: Final = {
    "time_to_first_token": ("ttft_ms", "s"),
    "time_per_output_token": ("tpot_ms", "s/token"),
    "inter_token_latency": ("itl_ms", "s/token"),
    "request_latency": ("e2e_ms", "s"),
}
_NEEDED: Final = [
    "phase",
    "error",
    "end_s",
    "prompt_tokens",
    "prompt_tokens_asked",
    "output_tokens",
    *(column for column, _ in _LATENCIES.values()),
]


def write_reports(dataset: Dataset, folder: Path) -> Iterator[str]:
    """Write every trial as ``<trial>.json`` and give a sentence for each that could not be.

    Raises:
        StoreFault: the folder cannot be written, or the store not read.
    """
    readable, problems = find_requests(
        dataset.store, dataset.experiment, request_bytes(dataset.records)
    )
    yield from problems
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for record in dataset.records:
            if record.trial in readable:
                report = benchmark_report(record, read_requests(dataset, record.trial))
                (folder / f"{record.trial}.json").write_bytes(report)
    except OSError as error:
        raise StoreFault(f"{folder}: cannot be written: {error.strerror}") from error


def read_requests(dataset: Dataset, trial: str) -> pa.Table:
    """Read the columns of a trial's requests that a report is made of."""
    with dataset.store.open(f"{dataset.experiment}/{trial}/{REQUESTS}") as file:
        return parquet.read_table(file, columns=_NEEDED)


def benchmark_report(record: Record, requests: pa.Table) -> bytes:
    """Give one trial's report as JSON.

    Args:
        record: the trial.
        requests: its rows of all phases, with at least the columns that ``read_requests`` reads.
    """
    report = form.BenchmarkReport(
        run=_run(record),
        scenario=form.Scenario(stack=list(_stack(record)), load=_load(record, requests)),
        results=form.Results(
            request_performance=form.RequestPerformance(aggregate=_aggregate(record, requests)),
            observability=form.Observability(llmatrix=_trust(record)),
        ),
    )
    plain = report.model_dump(mode="json", exclude_none=True)
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _run(record: Record) -> form.Run:
    levels = [f"{path}={label}" for path, label in record.levels.items()]
    failed = ", ".join(check.name for check in record.failed_checks)
    verdict = f"invalid ({failed}): not to be trusted" if failed else "valid"
    kind = "simulated, " if record.simulated else ""
    start, end = (datetime.fromtimestamp(at, UTC) for at in (record.started_at, record.ended_at))
    return form.Run(
        uid=record.trial,
        eid=record.experiment,
        time=form.RunTime(
            start=start, end=end, duration=f"PT{record.ended_at - record.started_at:.3f}S"
        ),
        description=f"{record.experiment}: {' '.join(levels) or 'one treatment'} ({kind}{verdict})",
        keywords=[
            *levels,
            *(f"replicate.{name}={number}" for name, number in record.replicate.items()),
            "invalid" if failed else "valid",
            *(["simulated"] if record.simulated else []),
        ],
    )


def _stack(record: Record) -> Iterator[form.Component]:
    stack = dict(record.document.get("stack", {}))
    router = stack.pop("router", None)
    replicas = max(1, _whole(stack.get("replicas"), 1))
    yield form.Component(
        metadata=form.Metadata(label="model-server", cfg_id=_digest(stack)),
        standardized=form.InferenceEngine(
            tool=str(stack.get("kind", "unknown")),
            tool_version=record.versions.get("stack", "unknown"),
            replicas=replicas,
            model=form.ModelName(name=str(record.document.get("model", {}).get("name", "unknown"))),
            accelerator=form.Accelerator(
                model=str(stack.get("accelerator", "unknown")),
                count=record.accelerators // replicas,
                parallelism=form.Parallelism(tp=_whole(stack.get("tensor_parallel"), 1)),
            ),
        ),
        native=form.Native(config=stack),
    )
    if router is not None:
        yield form.Component(
            metadata=form.Metadata(label="router", cfg_id=_digest(router)),
            standardized=form.Generic(
                kind_draft="router",
                tool=str(stack.get("kind", "unknown")),
                tool_version=record.versions.get("stack", "unknown"),
            ),
            native=form.Native(config=router),
        )


def _load(record: Record, requests: pa.Table) -> form.Load:
    workload = dict(record.document.get("workload", {}))
    load = workload.get("load")
    asked: Mapping[str, Any] = load if isinstance(load, Mapping) else {}
    rate, concurrency = asked.get("rate"), asked.get("concurrency")
    prefix = None
    if workload.get("groups") and workload.get("prefix_len"):
        groups = _whole(workload["groups"], 1)
        prefix = form.Prefix(
            prefix_len=_fixed(workload["prefix_len"]),
            num_groups=groups,
            num_users_per_group=max(1, -(-requests.num_rows // groups)),
            num_prefixes=1,
        )
    return form.Load(
        metadata=form.Metadata(cfg_id=_digest(workload), description=workload.get("kind")),
        standardized=form.LoadStandardized(
            tool="llmatrix",
            tool_version=record.versions.get("harness", "unknown"),
            source="random" if workload.get("kind") in {"random", "shared-prefix"} else "unknown",
            input_seq_len=_length(requests["prompt_tokens_asked"], workload.get("question_len")),
            output_seq_len=_fixed(workload["output_len"]) if "output_len" in workload else None,
            prefix=prefix,
            rate_qps=float(rate) if isinstance(rate, int | float) and rate > 0 else None,
            concurrency=concurrency if isinstance(concurrency, int) and concurrency > 0 else None,
        ),
        native=form.Native(config={**workload, "traffic_seed": record.traffic_seed}),
    )


def _aggregate(record: Record, requests: pa.Table) -> form.Aggregate:
    window = requests.filter(pc.equal(requests["phase"], "window"))
    completed = window.filter(pc.is_null(window["error"]))
    given_up = pc.sum(pc.is_in(window["error"], pa.array(["aborted"]))).as_py() or 0
    prompt = pc.coalesce(completed["prompt_tokens"], completed["prompt_tokens_asked"])
    inputs, outputs = (
        _rate(record, f"{way}_tokens_per_s", "tokens/s") for way in ("input", "output")
    )
    total = None
    if inputs is not None and outputs is not None:
        total = form.Statistics(units="tokens/s", mean=inputs.mean + outputs.mean)
    return form.Aggregate(
        requests=form.Requests(
            total=window.num_rows,
            failures=window.num_rows - completed.num_rows - given_up,
            incomplete=given_up,
            input_length=_statistics(floats(prompt), "count"),
            output_length=_statistics(floats(completed["output_tokens"]), "count"),
        ),
        latency=form.Latency(
            **{
                name: _latency(completed[column], unit)
                for name, (column, unit) in _LATENCIES.items()
            }
        ),
        throughput=form.Throughput(
            input_token_rate=inputs,
            output_token_rate=outputs,
            total_token_rate=total,
            request_rate=_rate(record, "requests_per_s", "queries/s"),
        ),
    )


def _latency(column: pa.ChunkedArray, unit: Any) -> form.Statistics | None:
    independent = None
    if pa.types.is_list(column.type):  # gaps of one answer depend on each other
        independent = int(np.count_nonzero(np.nan_to_num(floats(pc.list_value_length(column)))))
        column = pc.list_flatten(column)
    return _statistics(floats(column) / 1e3, unit, independent=independent)


def _statistics(
    values: NDArray[np.float64], unit: Any, *, independent: int | None = None
) -> form.Statistics | None:
    told = values[~np.isnan(values)]
    if not told.size:
        return None
    quantiles = {
        name: percentile(told, q, independent=independent)[0] for name, q in _QUANTILES.items()
    }
    return form.Statistics(
        units=unit,
        mean=float(told.mean()),
        stddev=float(told.std(ddof=1)) if told.size > 1 else None,
        min=float(told.min()),
        max=float(told.max()),
        **quantiles,
    )


def _rate(record: Record, metric: str, unit: Any) -> form.Statistics | None:
    value = record.metrics.get(metric)
    return None if value is None else form.Statistics(units=unit, mean=value)


def _trust(record: Record) -> dict[str, Any]:
    return {
        "valid": record.valid,
        "checks": [asdict(check) for check in record.checks],
        "withheld": record.withheld,
        "notes": record.notes,
    }


def _length(asked: pa.ChunkedArray, otherwise: Any) -> form.SequenceLength:
    lengths = floats(asked)
    lengths = lengths[~np.isnan(lengths)]
    if not lengths.size:
        return _fixed(otherwise)
    same = float(np.ptp(lengths)) == 0.0
    return form.SequenceLength(
        distribution="fixed" if same else "other", value=float(lengths.mean())
    )


def _fixed(value: Any) -> form.SequenceLength:
    """Give a length that all have; one that is no number (a distribution) counts as unknown."""
    try:
        return form.SequenceLength(distribution="fixed", value=float(value))
    except (TypeError, ValueError):
        return form.SequenceLength(distribution="other", value=0.0)


def _whole(value: Any, otherwise: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise


def _digest(section: Any) -> str:
    text = orjson.dumps(section, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]
