"""From a harness's files to metrics and verdicts: the same for every harness."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from llmatrix.analysis.checks import Check
from llmatrix.harness.protocol import Measurement
from llmatrix.plan.trial import Trial
from llmatrix.spec.workloads import ClosedLoop
from llmatrix.stacks.protocol import Hygiene


@dataclass(frozen=True)
class Measured:
    """What a workload showed; kept on the site until it is uploaded."""

    simulated: bool
    started_at: float
    ended_at: float
    window_s: tuple[float, float]
    metrics: dict[str, float | None]
    withheld: dict[str, str]
    checks: list[Check]
    notes: list[str]


_MEASURED: Final = TypeAdapter(Measured)


def write_measured(path: Path, measured: Measured) -> None:
    """Write durably, whole or not at all: its presence says that the trial was measured."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(_MEASURED.dump_json(measured))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_measured(path: Path) -> Measured:
    """Read what ``write_measured`` wrote."""
    return _MEASURED.validate_json(path.read_bytes())


def judge(
    trial: Trial, folder: Path, measurement: Measurement, hygiene: Hygiene, *, simulated: bool
) -> Measured:
    """Compute the metrics of a trial's window and hold them against the validity checks.

    ``folder`` holds ``requests.parquet`` as the harness wrote it.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - costs 0.1 s, and only a measuring run needs it

    from llmatrix.analysis import metrics, validity  # noqa: PLC0415 - numpy likewise

    requests = pq.read_table(folder / "requests.parquet")
    window_s, stack = measurement.window_s, trial.treatment.stack
    summary = metrics.summarise(requests, window_s=window_s, accelerators=stack.accelerators)
    workload = trial.treatment.workload
    load = workload.load
    checks = validity.judge(
        requests,
        window_s=window_s,
        asked=validity.Asked(
            rate=None if isinstance(load, ClosedLoop) else load.final_rate,
            arrivals="poisson" if isinstance(load, ClosedLoop) else load.arrivals,
            concurrency=load.concurrency if isinstance(load, ClosedLoop) else None,
            cv=None if isinstance(load, ClosedLoop) else load.cv,
            ramp=() if isinstance(load, ClosedLoop) else load.pieces,
            api=workload.api,
        ),
        observed=validity.Observed(
            loop_lag_ms_p99=measurement.loop_lag_ms_p99,
            client_cpu=measurement.client_cpu,
            connections_opened=measurement.connections_opened,
            cache_clean=hygiene.clean,
            cache_detail=hygiene.detail,
            restarts=0,
        ),
    )
    return Measured(
        simulated=simulated,
        started_at=measurement.started_at,
        ended_at=time.time(),
        window_s=window_s,
        metrics=summary.metrics,
        withheld=summary.withheld,
        checks=checks,
        notes=measurement.notes,
    )
