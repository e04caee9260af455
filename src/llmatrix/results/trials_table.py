"""The table ``trials``: one row for each record, made column by column.

A factor's column exists if any record has the factor, and a metric's if any record has the metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.plan.step import Step

if TYPE_CHECKING:
    import pyarrow as pa

    from llmatrix.results.trial_row import CheckRow, Measured

_Column: TypeAlias = tuple[str, str, list[Any]]
"""Its name, its type as Arrow writes it, and its values."""


def trials_table(
    records: Sequence[Measured],
    levels: Mapping[str, Mapping[str, str | None]],
    factors: Sequence[str],
) -> pa.Table:
    """Make the table.

    Args:
        records: one for each row, in the order of the rows.
        levels: for each trial, its level of every factor.
        factors: every factor's path.
    """
    import pyarrow as pa  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

    columns = [*_columns(records, levels, factors)]
    arrays = [pa.array(values, kind) for _, kind, values in columns]
    return pa.Table.from_arrays(arrays, names=[name for name, _, _ in columns])


def _columns(
    records: Sequence[Measured],
    levels: Mapping[str, Mapping[str, str | None]],
    factors: Sequence[str],
) -> Iterator[_Column]:
    """Give every column in its order."""
    failed = [[check for check in r.checks if check.verdict is Verdict.FAIL] for r in records]
    mine = [levels[r.trial] for r in records]
    metrics = dict.fromkeys(name for r in records for name in r.metrics)
    yield "trial", "string", [r.trial for r in records]
    yield "valid", "bool", [not checks for checks in failed]
    yield "invalid_because", "string", [_because(checks) for checks in failed]
    yield "simulated", "bool", [r.simulated for r in records]
    yield "replicate_deployment", "int64", [r.replicate.get("deployment", 0) for r in records]
    yield "replicate_workload", "int64", [r.replicate.get("workload", 0) for r in records]
    yield "replicate_control", "int64", [r.replicate.get("control") for r in records]
    for path in factors:
        yield path, "string", [part[path] for part in mine]
    for name in metrics:
        yield name, "double", [r.metrics.get(name) for r in records]
    yield from _of_steps(records)
    yield from _of_checks(records)
    yield "accelerators", "int64", [r.accelerators for r in records]
    yield "started_at", "double", [r.started_at for r in records]
    yield "ended_at", "double", [r.ended_at for r in records]


def _because(failed: Sequence[Check | CheckRow]) -> str | None:
    return "; ".join(f"{c.name} {c.figure} ({c.limit})" for c in failed) or None


def _of_steps(records: Sequence[Measured]) -> Iterator[_Column]:
    """Give the seconds of every step, then the outcomes; null where a record lacks the step."""
    # By the text: hashing a member of an enumeration takes several times as long.
    found = [{each.step.value: each for each in r.steps} for r in records]
    outcomes = {step: [steps.get(step.value) for steps in found] for step in Step}
    for step, each in outcomes.items():
        yield f"seconds_{step}", "double", [None if s is None else s.seconds for s in each]
    for step, each in outcomes.items():
        yield f"outcome_{step}", "string", [None if s is None else s.outcome for s in each]


def _of_checks(records: Sequence[Measured]) -> Iterator[_Column]:
    verdicts = [{check.name: check.verdict for check in r.checks} for r in records]
    for name in dict.fromkeys(name for found in verdicts for name in found):
        yield f"check_{name}", "string", [found.get(name) for found in verdicts]
