"""The native harness as its caller sees it: child processes are told what to send, and watched."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

from llmatrix.errors import FailureClass, StepFailure, UserError
from llmatrix.harness.native.bodies import address
from llmatrix.harness.native.orders import Orders, Recorded
from llmatrix.harness.native.probe import cores
from llmatrix.harness.native.sharding import shards
from llmatrix.harness.native.shards import Following, Outcome, started
from llmatrix.harness.protocol import Job, Measurement, Progress, Sender
from llmatrix.spec.base import TokenizerFolder
from llmatrix.spec.experiment import Model, Treatment
from llmatrix.spec.recorded import RecordedFile
from llmatrix.spec.workloads import (
    ClosedLoop,
    DatasetWorkload,
    MultiTurnWorkload,
    SharedPrefixWorkload,
    TraceWorkload,
    Workload,
)

_KEY_CHARS: Final = range(0x21, 0x7F)
_SENDER: Final = tuple(Sender.__dataclass_fields__)


class NativeHarness:
    """Sends a workload from lean child processes over kept-alive HTTP/1.1 connections."""

    name: ClassVar[str] = "native"
    version: ClassVar[str] = "2"

    def preflight(self, treatment: Treatment) -> None:
        """Load the model's tokenizer, if it names one: a wrong one must not cost a deployment."""
        from llmatrix.harness.native.tokenized import (  # noqa: PLC0415 - needs a tokenizer library
            TokenizerError,
            token_counter,
            tokenizer_words,
        )

        tokenizer = treatment.model.tokenizer
        if not isinstance(tokenizer, TokenizerFolder):
            return
        counts_only = isinstance(treatment.workload, DatasetWorkload)
        try:
            (token_counter if counts_only else tokenizer_words)(Path(tokenizer.path))
        except TokenizerError as error:
            raise UserError(str(error)) from error

    def run(
        self, job: Job, *, progress: Callable[[Progress], None], stop: threading.Event
    ) -> Measurement:
        """Send the workload; see the protocol.

        Raises:
            StepFailure: USER where the job cannot be sent at all; SERVER where nothing but failing
                connections was met for 5 s (the rows are written all the same); WORKLOAD where
                a child broke.
            Stopped: ``stop`` was set meanwhile; the children have ended.
        """
        orders = orders_of(job)
        try:
            with started(orders) as children:
                outcome = Following(children, orders, progress).outcome(stop)
        finally:
            shutil.rmtree(orders.spool(0).parent, ignore_errors=True)
        return _measurement(orders, outcome)


def _measurement(orders: Orders, outcome: Outcome) -> Measurement:
    """Put together what the shards told: the worst lag, the busiest, all connections."""
    figures = outcome.figures
    opened = _known(figures, "connections_opened")
    notes = list(outcome.notes)
    if orders.shards > 1:
        notes.append(f"sent by {orders.shards} processes")
    return Measurement(
        window_s=orders.window,
        started_at=outcome.started_at,
        loop_lag_ms_p99=max(_known(figures, "loop_lag_ms_p99"), default=None),
        client_cpu=max(_known(figures, "cpu"), default=None),
        connections_opened=sum(opened) if opened else None,
        notes=notes,
        senders=tuple(Sender(**{n: each.get(n) for n in _SENDER}) for each in figures),
        asked_in_window=sum(each["in_window"] for each in figures) if orders.trace else None,
    )


def _known(figures: Any, name: str) -> list[Any]:
    return [each[name] for each in figures if each.get(name) is not None]


def orders_of(job: Job) -> Orders:
    """Write a job as orders.

    Raises:
        StepFailure: USER: the job cannot be sent, whatever the server does.
    """
    workload, target = job.workload, job.target
    try:
        address(target.base_url)
    except ValueError as error:
        raise StepFailure(f"stack.url: {error}", FailureClass.USER) from None
    _check_key(target.api_key_env)
    router = (target.router_metrics_url,) if target.router_metrics_url else ()
    return Orders(
        base_url=target.base_url,
        model=target.model,
        api_key_env=target.api_key_env,
        metrics_urls=(*target.metrics_urls, *router),
        warmup=workload.warmup,
        duration=workload.duration,
        drain=workload.drain,
        timeout=workload.timeout,
        api=workload.api,
        prompt=workload.prompt,
        stream=workload.stream,
        seed=job.seed,
        folder=str(job.folder),
        shards=shards(workload, cores()),
        **_vocabulary(job.model),
        **_lengths(workload),
        **_load(workload),
        **_recorded(workload, job.folder),
    )


def _vocabulary(model: Model) -> dict[str, Any]:
    tokenizer = model.tokenizer
    path = tokenizer.path if isinstance(tokenizer, TokenizerFolder) else tokenizer
    return {"vocab_size": model.vocab_size, "tokenizer": path}


def _lengths(workload: Workload) -> dict[str, Any]:
    lengths: dict[str, Any] = {"groups": 0, "prefix_len": 0, "question_len": 0, "output_len": 0}
    if not isinstance(workload, TraceWorkload):
        lengths["output_len"] = workload.output_len or 0
    if not isinstance(workload, (DatasetWorkload, TraceWorkload)):
        lengths["question_len"] = workload.question_len
    if isinstance(workload, SharedPrefixWorkload):
        lengths |= {"groups": workload.groups, "prefix_len": workload.prefix_len}
    if isinstance(workload, MultiTurnWorkload):
        lengths |= {
            "turns": workload.turns,
            "think_time": workload.think_time,
            "think_cv": workload.think_cv,
            "history": workload.history,
        }
    return lengths


def _load(workload: Workload) -> dict[str, Any]:
    if isinstance(workload, TraceWorkload):
        return {"rate": None, "concurrency": None, "gap_cv": 0.0}
    load = workload.load
    if isinstance(load, ClosedLoop):
        return {"rate": None, "concurrency": load.concurrency, "gap_cv": 1.0}
    asked = {"rate": load.final_rate, "concurrency": None, "gap_cv": load.gap_cv}
    return {**asked, "ramp": load.pieces}


def _recorded(workload: Workload, folder: Path) -> dict[str, Any]:
    if isinstance(workload, DatasetWorkload):
        return {"dataset": _file(workload.dataset, folder)}
    if isinstance(workload, TraceWorkload):
        file = _file(workload.trace, folder)
        unit = workload.unit
        return {"trace": Recorded(file.path, file.sha256, workload.speed, unit)}
    return {}


def _file(file: RecordedFile, folder: Path) -> Recorded:
    """Give where a file of recorded traffic is; one that travelled in the trial is written down."""
    if file.path and Path(file.path).is_file():
        return Recorded(file.path, file.sha256)
    if file.text is None:
        raise StepFailure(
            f"workload: a file of recorded traffic is not here (sha256 {file.sha256[:12]}…); run "
            "the trial where the file is",
            FailureClass.USER,
        )
    path = folder / "spool" / "recorded"
    path.parent.mkdir(exist_ok=True)
    path.write_text(file.text, encoding="utf-8", newline="")
    return Recorded(str(path), file.sha256)


def _check_key(name: str | None) -> None:
    """Refuse a key that is missing, or that no header can carry; never show it."""
    if name is None:
        return
    key = os.environ.get(name, "")
    if not key:
        raise StepFailure(
            f"stack.api_key_env: the environment variable {name} is not set; export the API key "
            "under that name",
            FailureClass.USER,
        )
    if any(ord(character) not in _KEY_CHARS for character in key):
        raise StepFailure(
            f"stack.api_key_env: the value of {name} has characters that no API key has (a space "
            "or a line end, perhaps)",
            FailureClass.USER,
        )
