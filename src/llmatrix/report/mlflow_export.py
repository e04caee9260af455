"""Trials as runs of an MLflow tracking server, or of a database file (``sqlite:///runs.db``).

Needs ``llmatrix[mlflow]``, which is imported when it is called. A trial that was logged before is
not logged again: its run carries the trial's id.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from llmatrix.errors import EnvironmentFault, StoreFault
from llmatrix.results.dataset import Dataset
from llmatrix.results.record import Record

TRIAL_TAG: Final = "llmatrix.trial"
_PARAMETERS_AT_ONCE: Final = 100
"""The most that one call of MLflow's REST interface takes."""
_LONGEST: Final = 500
"""Characters of a parameter's value that every version of the server takes."""


def log_runs(dataset: Dataset, uri: str) -> tuple[int, int]:
    """Log every trial that is not there yet as a run of the experiment's name.

    Invalid trials are logged too, with the tag ``llmatrix.valid`` false and the reasons beside it.

    Args:
        dataset: the experiment.
        uri: of the tracking server or database, as MLflow takes it.

    Returns:
        How many were logged, and how many were there already.

    Raises:
        EnvironmentFault: MLflow is not installed.
        StoreFault: the server or database does not take them.
    """
    client, entities, refused = _open(uri)
    try:
        found = client.get_experiment_by_name(dataset.experiment)
        where = found.experiment_id if found else client.create_experiment(dataset.experiment)
        known = set(_logged(client, where))
        fresh = [record for record in dataset.records if record.trial not in known]
        for record in fresh:
            _log(client, entities, where, record)
    except refused as error:
        reason = " ".join(str(error).split())
        raise StoreFault(f"MLflow at {uri} does not take the runs: {reason}") from error
    return len(fresh), len(dataset.records) - len(fresh)


def _open(uri: str) -> tuple[Any, Any, type[Exception]]:
    # Runs go where the user says and nowhere else.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient, entities  # noqa: PLC0415 - an extra; takes seconds
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
    except ImportError as error:
        raise EnvironmentFault(
            "exporting to MLflow needs its client: pip install 'llmatrix[mlflow]'"
        ) from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return MlflowClient(tracking_uri=uri), entities, MlflowException
    except MlflowException as error:
        reason = " ".join(str(error).split())
        raise StoreFault(
            f"MLflow cannot open {uri}: {reason}; name a server, such as http://127.0.0.1:5000, or "
            f"a database file, such as sqlite:///runs.db"
        ) from error


def _logged(client: Any, experiment: str) -> Iterator[str]:
    """Give the trials that the experiment has runs of, page by page."""
    token = None
    while True:
        page = client.search_runs([experiment], page_token=token)
        for run in page:
            if trial := run.data.tags.get(TRIAL_TAG):
                yield trial
        token = page.token
        if not token:
            return


def _log(client: Any, entities: Any, experiment: str, record: Record) -> None:
    ended = round(1000 * record.ended_at)
    run = client.create_run(
        experiment,
        start_time=round(1000 * record.started_at),
        run_name=" ".join([*record.levels.values(), record.trial[:8]]),
    )
    parameters = [entities.Param(key, value[:_LONGEST]) for key, value in _parameters(record)]
    metrics = [
        entities.Metric(name, value, ended, 0)
        for name, value in record.metrics.items()
        if value is not None and math.isfinite(value)
    ]
    for part in _parts(parameters):
        client.log_batch(run.info.run_id, params=part)
    # The trial's tag comes last: a run that was cut off before does not count as logged.
    tags = [entities.RunTag(key, value) for key, value in _tags(record)]
    client.log_batch(run.info.run_id, metrics=metrics, tags=tags)
    client.set_terminated(run.info.run_id, "FINISHED", end_time=ended)


def _parameters(record: Record) -> Iterator[tuple[str, str]]:
    yield from record.levels.items()
    for name, number in record.replicate.items():
        yield f"replicate.{name}", str(number)
    yield "model", str(record.document.get("model", {}).get("name", ""))
    yield "stack", str(record.document.get("stack", {}).get("kind", ""))
    yield "accelerators", str(record.accelerators)
    for part, version in record.versions.items():
        yield f"version.{part}", version


def _tags(record: Record) -> Iterator[tuple[str, str]]:
    yield "llmatrix.valid", str(record.valid).lower()
    yield "llmatrix.simulated", str(record.simulated).lower()
    failed = (f"{check.name} {check.figure} ({check.limit})" for check in record.failed_checks)
    if reasons := "; ".join(failed):
        yield "llmatrix.invalid_because", reasons
    yield TRIAL_TAG, record.trial


def _parts(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _PARAMETERS_AT_ONCE):
        yield list(items[start : start + _PARAMETERS_AT_ONCE])
