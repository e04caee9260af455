"""Where the figures come from: versions, hardware, seed, and the command that makes them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from llmatrix import __version__
from llmatrix.report.shown import duration
from llmatrix.report.summary import Summary
from llmatrix.report.terminal import counts
from llmatrix.results.record import Record

_STACK_PARTS = ("image", "images", "accelerator", "tensor_parallel", "replicas", "gpus", "node")


def provenance(summary: Summary) -> list[tuple[str, str]]:
    """Give name and text of everything that a reader needs to judge or repeat the experiment."""
    rows = [("Trials", counts(summary)), *_plan(summary), *_records(summary.dataset.records)]
    rows.append(("Kept in", summary.dataset.store.url))
    rows.append(("Page made by", f"llmatrix {__version__}"))
    return [(name, text) for name, text in rows if text]


def reproduce(summary: Summary) -> str:
    """Give the command that was typed to run the experiment; empty where nobody wrote it down."""
    manifest = summary.dataset.manifest
    return manifest.command_line if manifest else ""


def spent(summary: Summary) -> str:
    """Say how long the measured trials took, and how much of that was measured windows."""
    records = summary.dataset.records
    seconds = sum(step.seconds for record in records for step in record.steps)
    windows = sum(end - start for start, end in (record.window_s for record in records))
    if not seconds:
        return ""
    share = f"{windows / seconds:.0%} of it measured windows"
    return f"{duration(seconds)} on the measured trials, {share}"


def _plan(summary: Summary) -> Iterator[tuple[str, str]]:
    manifest = summary.dataset.manifest
    if manifest is not None:
        yield "Seed of the order", str(manifest.seed)


def _records(records: tuple[Record, ...]) -> Iterator[tuple[str, str]]:
    if not records:
        return
    first = min(record.started_at for record in records)
    last = max(record.ended_at for record in records)
    yield "Measured", f"{_moment(first)} to {_moment(last)}"
    held = sum((r.ended_at - r.started_at) * r.accelerators for r in records) / 3600
    if held:
        yield "Accelerator-hours of the trials", f"{held:.3g}"
    yield "Model", _several(r.document.get("model", {}).get("name") for r in records)
    yield "Stack", _several(r.document.get("stack", {}).get("kind") for r in records)
    yield "Accelerators of a deployment", _several(record.accelerators for record in records)
    for part in _STACK_PARTS:
        told = _several(r.document.get("stack", {}).get(part) for r in records)
        yield f"stack.{part}", told
    seeds = {record.traffic_seed for record in records}
    few = 3
    yield (
        "Seeds of the traffic",
        _several(sorted(seeds)) if len(seeds) <= few else f"{len(seeds)}, each in its record",
    )
    for part in dict.fromkeys(part for record in records for part in record.versions):
        yield f"Version of the {part}", _several(r.versions.get(part) for r in records)
    for key in dict.fromkeys(key for record in records for key in record.host):
        yield f"Host: {key}", _several(r.host.get(key) for r in records)


def _several(values: Iterable[Any]) -> str:
    """Give the distinct values in words, in the order of their appearance."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
