"""One experiment's records as a whole, and as two tidy tables: ``trials`` and ``requests``.

``trials`` has one row per record; a factor's column exists if any record has the factor, and a
metric's if any record has the metric. ``data_dictionary`` tells every column.
``requests`` is every trial's ``requests.parquet`` with the column ``trial`` before the others.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmatrix.errors import StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.levels import complete, factors_of, unnamed_factors
from llmatrix.results.manifest import Manifest, read_manifest
from llmatrix.results.record import Failure, Record
from llmatrix.results.records import read_failure, read_record
from llmatrix.results.request_tables import add_requests, find_requests, request_bytes
from llmatrix.results.store import Store, side_by_side

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything an experiment left in a store, as far as it can be read.

    Attributes:
        store: where it was read from.
        experiment: its name.
        manifest: what it was asked to do; None where that is unknown.
        records: the measured trials, in the order in which they were started.
        failures: the trials that could not be measured.
        factors: every factor's path, in the order in which the records name them; where two
            records of the same levels differ in something else (the experiment was amended, or
            what measures is newer), that is a factor too.
        levels: for each record, its level of every factor.
        problems: what could not be read, a clear sentence each.
    """

    store: Store
    experiment: str
    manifest: Manifest | None
    records: tuple[Record, ...]
    failures: tuple[Failure, ...]
    factors: tuple[str, ...]
    levels: dict[str, dict[str, str | None]]
    problems: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Planned trials that have neither a record nor a failure."""
        there = {r.trial for r in self.records} | {f.trial for f in self.failures}
        planned = self.manifest.plan.trials if self.manifest else []
        return tuple(trial for trial in planned if trial not in there)

    def trials(self) -> pa.Table:
        """Give the table ``trials``; ``data_dictionary`` tells its columns."""
        import pyarrow as pa  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

        schema = pa.schema(_columns(self.records, self.factors))
        with no_search_for_garbage():
            rows = [_row(record, self.levels[record.trial]) for record in self.records]
            return pa.Table.from_pylist(rows, schema=schema)

    def tables(self) -> Tables:
        """Give what SQL is asked of."""
        return Tables(
            store=self.store,
            experiment=self.experiment,
            trials=self.trials(),
            factors=self.factors,
            request_bytes=request_bytes(self.records),
            problems=self.problems,
        )

    def connect(self, *, requests: bool = True) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB connection with the tables, as ``Tables.connect`` does."""
        return self.tables().connect(requests=requests)

    def request_problems(self) -> tuple[str, ...]:
        """Say which trials' requests cannot be read, a clear sentence each."""
        return find_requests(self.store, self.experiment, request_bytes(self.records))[1]


@dataclass(frozen=True, slots=True)
class Tables:
    """An experiment as SQL sees it: the table of its trials, and where their requests are.

    Attributes:
        store: where it was read from.
        experiment: its name.
        trials: the table.
        factors: every factor's path; each is a column of it.
        request_bytes: for each trial, the oldest first, what its record says of its requests.
        problems: what could not be read, a clear sentence each.
    """

    store: Store
    experiment: str
    trials: pa.Table
    factors: tuple[str, ...]
    request_bytes: dict[str, int | None]
    problems: tuple[str, ...]

    def connect(self, *, requests: bool = True, mixed: bool = True) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB connection with the tables ``trials`` and, if wanted, ``requests``.

        Trials whose ``requests.parquet`` is missing or torn are not in ``requests``;
        ``Dataset.request_problems`` says which. Only the columns that a query names are read.
        ``mixed`` is that of ``request_tables.add_requests``.
        """
        import duckdb  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

        connection = duckdb.connect()
        connection.register("trials", self.trials)
        if requests:
            whole, _ = find_requests(self.store, self.experiment, self.request_bytes)
            add_requests(connection, self.store, self.experiment, whole, mixed=mixed)
        return connection


def load(store: Store, experiment: str) -> Dataset:
    """Read an experiment from a store; what cannot be read is told in ``problems``.

    Raises:
        StoreFault: the store itself cannot be read.
    """
    with no_search_for_garbage():
        return _load(store, experiment)


def _load(store: Store, experiment: str) -> Dataset:
    records: list[Record] = []
    failures: list[Failure] = []
    problems: list[str] = []
    trials = store.folders(f"{experiment}/")
    found = list(side_by_side(store, trials, lambda t: _read_trial(store, experiment, t)))
    for each in found:
        if isinstance(each, Record):
            records.append(each)
        elif isinstance(each, Failure):
            failures.append(each)
        elif each is not None:
            problems.append(each)
    try:
        manifest = read_manifest(store, experiment)
    except StoreFault as fault:
        manifest = None
        problems.append(str(fault))
    records.sort(key=lambda record: (record.started_at, record.trial))
    failures.sort(key=lambda failure: (failure.ended_at, failure.trial))
    factors = factors_of(item.levels for part in (records, failures) for item in part)
    levels = complete(records, factors)
    if more := unnamed_factors(records, levels):
        factors += more
        levels = complete(records, factors)
    return Dataset(
        store=store,
        experiment=experiment,
        manifest=manifest,
        records=tuple(records),
        failures=tuple(failures),
        factors=factors,
        levels=levels,
        problems=tuple(problems),
    )


@contextlib.contextmanager
def no_search_for_garbage() -> Iterator[None]:
    """Leave Python's search for cycles out; among thousands of new records it finds none.

    That search takes 40 % of the time of reading 10,000 records.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_trial(store: Store, experiment: str, trial: str) -> Record | Failure | str | None:
    problem = None
    for read in (read_record, read_failure):
        try:
            return read(store, experiment, trial)
        except KeyError:
            continue
        except StoreFault as fault:
            problem = problem or str(fault)
    return problem


def _columns(records: Sequence[Record], factors: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    import pyarrow as pa  # noqa: PLC0415

    checks = dict.fromkeys(check.name for record in records for check in record.checks)
    metrics = dict.fromkeys(name for record in records for name in record.metrics)
    return [
        ("trial", pa.string()),
        ("valid", pa.bool_()),
        ("invalid_because", pa.string()),
        ("simulated", pa.bool_()),
        ("replicate_deployment", pa.int64()),
        ("replicate_workload", pa.int64()),
        *((path, pa.string()) for path in factors),
        *((metric, pa.float64()) for metric in metrics),
        *((f"seconds_{step}", pa.float64()) for step in Step),
        *((f"outcome_{step}", pa.string()) for step in Step),
        *((f"check_{name}", pa.string()) for name in checks),
        ("accelerators", pa.int64()),
        ("started_at", pa.float64()),
        ("ended_at", pa.float64()),
    ]


def _row(record: Record, levels: dict[str, str | None]) -> dict[str, Any]:
    failed = "; ".join(f"{c.name} {c.figure} ({c.limit})" for c in record.failed_checks)
    return {
        **levels,
        **record.metrics,
        **{f"seconds_{outcome.step}": outcome.seconds for outcome in record.steps},
        **{f"outcome_{outcome.step}": str(outcome.outcome) for outcome in record.steps},
        **{f"check_{check.name}": str(check.verdict) for check in record.checks},
        "trial": record.trial,
        "valid": record.valid,
        "invalid_because": failed or None,
        "simulated": record.simulated,
        "replicate_deployment": record.replicate.get("deployment", 0),
        "replicate_workload": record.replicate.get("workload", 0),
        "accelerators": record.accelerators,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
    }
