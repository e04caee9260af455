"""From a harness's files to metrics and verdicts: the same for every harness."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from llmatrix.analysis.checks import Check
from llmatrix.harness.protocol import Measurement
from llmatrix.plan.trial import Trial
from llmatrix.spec.workloads import (
    ClosedLoop,
    DatasetWorkload,
    MultiTurnWorkload,
    TraceWorkload,
    Workload,
)
from llmatrix.stacks.protocol import Hygiene
from llmatrix.target import Target

if TYPE_CHECKING:
    import pyarrow as pa

    from llmatrix.analysis.metrics import Summary
    from llmatrix.analysis.strain import Strain
    from llmatrix.analysis.validity import Asked

_OF_STREAMS: Final = ("ttft_", "itl_", "tpot_", "output_tokens_per_s_per_user")


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
    trial: Trial,
    folder: Path,
    measurement: Measurement,
    hygiene: Hygiene,
    *,
    target: Target,
    restarts: int = 0,
    endings: Sequence[str] = (),
) -> Measured:
    """Compute the metrics of a trial's window and hold them against the validity checks.

    ``folder`` holds ``requests.parquet`` and ``server.parquet`` as the harness wrote them;
    ``restarts`` servers ended meanwhile, as ``endings`` tell.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - costs 0.1 s, and only a measuring run needs it

    from llmatrix.analysis import metrics, validity  # noqa: PLC0415 - numpy likewise

    requests = pq.read_table(folder / "requests.parquet")
    window_s, stack = measurement.window_s, trial.treatment.stack
    told = _scraped(folder)
    summary = metrics.summarise(
        requests,
        window_s=window_s,
        accelerators=stack.accelerators,
        scraped=told,
        prefills={urlsplit(url).netloc for url in target.prefill_urls},
    )
    workload = trial.treatment.workload
    if not workload.stream:
        summary = _withhold_times(summary)
    checks = validity.judge(
        requests,
        window_s=window_s,
        asked=_asked(workload, measurement),
        observed=validity.Observed(
            loop_lag_ms_p99=measurement.loop_lag_ms_p99,
            strain=_strain(measurement),
            connections_opened=measurement.connections_opened,
            cache_clean=hygiene.clean,
            cache_detail=hygiene.detail,
            restarts=restarts,
            endings=tuple(endings),
            simulated=target.simulated,
            scraped=told,
        ),
    )
    return Measured(
        simulated=target.simulated,
        started_at=measurement.started_at,
        ended_at=time.time(),
        window_s=window_s,
        metrics=summary.metrics,
        withheld=summary.withheld,
        checks=checks,
        notes=measurement.notes,
    )


def _scraped(folder: Path) -> pa.Table | None:
    """Give of what servers said what figures are made of; None where nothing was scraped."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - costs 0.1 s

    from llmatrix.analysis.scraped import NAMES  # noqa: PLC0415 - numpy likewise

    file = folder / "server.parquet"
    if not file.exists():
        return None
    return pq.read_table(file, filters=[("metric", "in", sorted(NAMES))])


def _asked(workload: Workload, measurement: Measurement) -> Asked:
    """Say what the checks hold the traffic against."""
    from llmatrix.analysis.validity import Asked  # noqa: PLC0415 - costs 0.1 s

    received = isinstance(workload, MultiTurnWorkload) and workload.history == "received"
    exact = not received and not isinstance(workload, DatasetWorkload)
    if isinstance(workload, TraceWorkload):
        return Asked(replayed=measurement.asked_in_window or 0, api=workload.api)
    load = workload.load
    if isinstance(load, ClosedLoop):
        return Asked(
            concurrency=load.concurrency,
            api=workload.api,
            turns=workload.turns_each,
            exact=exact,
        )
    return Asked(
        rate=load.final_rate,
        arrivals=load.arrivals,
        cv=load.cv,
        ramp=load.pieces,
        api=workload.api,
        turns=workload.turns_each,
        exact=exact,
    )


def _strain(measurement: Measurement) -> Strain:
    """Give the worst that any sender saw."""
    from llmatrix.analysis.strain import Strain  # noqa: PLC0415 - costs 0.1 s

    def worst(name: str) -> float | None:
        known = [getattr(sender, name) for sender in measurement.senders]
        return max((value for value in known if value is not None), default=None)

    cores = [sender.cores for sender in measurement.senders if sender.cores is not None]
    return Strain(
        cpu=measurement.client_cpu,
        cpu_wait=worst("cpu_wait"),
        steal=worst("steal"),
        throttled=worst("throttled"),
        cores=min(cores, default=None),
        shards=max(1, len(measurement.senders)),
    )


def _withhold_times(summary: Summary) -> Summary:
    """Withhold what only a streamed answer has: its parts have no times of their own."""
    gone = [name for name in summary.metrics if name.startswith(_OF_STREAMS)]
    why = "workload.stream is false: a whole answer has no first token and no gaps"
    return replace(
        summary,
        metrics=summary.metrics | dict.fromkeys(gone),
        withheld=summary.withheld | dict.fromkeys(gone, why),
    )
