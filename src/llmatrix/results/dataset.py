"""One experiment's records as a whole, and as two tidy tables: ``trials`` and ``requests``.

``trials`` has one row per record; a factor's column exists if any record has the factor, and a
metric's if any record has the metric. ``data_dictionary`` tells every column.
``requests`` is every trial's ``requests.parquet`` with the column ``trial`` before the others.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from llmatrix.errors import StoreFault
from llmatrix.results.levels import complete, factors_of, unnamed_factors
from llmatrix.results.manifest import Manifest, read_manifest
from llmatrix.results.record import Failure, Record
from llmatrix.results.records import read_failure, read_record, record_name
from llmatrix.results.request_tables import find_requests, request_bytes
from llmatrix.results.store import Store, side_by_side
from llmatrix.results.tables import Tables
from llmatrix.results.trial_row import TrialRow, read_row
from llmatrix.results.trials_table import trials_table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

M = TypeVar("M", bound=Record | TrialRow)


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
        with no_search_for_garbage():
            return trials_table(self.records, self.levels, self.factors)

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


def load(store: Store, experiment: str) -> Dataset:
    """Read an experiment from a store; what cannot be read is told in ``problems``.

    Raises:
        StoreFault: the store itself cannot be read.
    """
    with no_search_for_garbage():
        found = _find(store, experiment, _read_trial)
        return Dataset(
            store=store,
            experiment=experiment,
            manifest=found.manifest,
            records=tuple(found.records),
            failures=tuple(found.failures),
            factors=found.factors,
            levels=found.levels,
            problems=tuple(found.problems),
        )


def read_tables(store: Store, experiment: str) -> Tables:
    """Give what ``load(store, experiment).tables()`` gives, in half of its time.

    Raises:
        StoreFault: the store itself cannot be read.
    """
    with no_search_for_garbage():  # until the records, of which only the table is kept, are gone
        found = _find(store, experiment, _read_row)
        return Tables(
            store=store,
            experiment=experiment,
            trials=trials_table(found.records, found.levels, found.factors),
            factors=found.factors,
            request_bytes=request_bytes(found.records),
            problems=tuple(found.problems),
        )


@dataclass(slots=True)
class _Found(Generic[M]):
    """What lies in an experiment's folders, sorted out."""

    records: list[M] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    manifest: Manifest | None = None
    factors: tuple[str, ...] = ()
    levels: dict[str, dict[str, str | None]] = field(default_factory=dict)


def _find(
    store: Store, experiment: str, read: Callable[[Store, str, str], M | Failure | str | None]
) -> _Found[M]:
    found: _Found[M] = _Found()
    trials = store.folders(f"{experiment}/", empty=True)
    for each in side_by_side(store, trials, lambda trial: read(store, experiment, trial)):
        if isinstance(each, Failure):
            found.failures.append(each)
        elif isinstance(each, str):
            found.problems.append(each)
        elif each is not None:
            found.records.append(each)
    try:
        found.manifest = read_manifest(store, experiment)
    except StoreFault as fault:
        found.problems.append(str(fault))
    records, failures = found.records, found.failures
    records.sort(key=lambda record: (record.started_at, record.trial))
    failures.sort(key=lambda failure: (failure.ended_at, failure.trial))
    found.factors = factors_of(item.levels for part in (records, failures) for item in part)
    found.levels = complete(records, found.factors)
    if more := unnamed_factors(records, found.levels):
        found.factors += more
        found.levels = complete(records, found.factors)
    return found


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


def _read_row(
    store: Store, experiment: str, trial: str
) -> TrialRow | Record | Failure | str | None:
    with contextlib.suppress(KeyError, StoreFault):
        content = store.get(record_name(experiment, trial))
        if row := read_row(content, experiment, trial):
            return row
    return _read_trial(store, experiment, trial)


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
