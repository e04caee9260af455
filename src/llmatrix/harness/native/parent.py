"""The native harness as its caller sees it: a child process is told what to send, and watched."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from llmatrix.errors import FailureClass, StepFailure, Stopped, UserError
from llmatrix.harness.native.bodies import address
from llmatrix.harness.native.orders import FAILURE, PROGRESS, Orders
from llmatrix.harness.protocol import Job, Measurement, Progress
from llmatrix.spec.base import TokenizerFolder
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.workloads import ClosedLoop, SharedPrefixWorkload

_POLL_S: Final = 0.1
_SLACK_S: Final = 120.0
_LOG_BYTES: Final = 8192
_KEY_CHARS: Final = range(0x21, 0x7F)


class NativeHarness:
    """Sends a workload from one lean child process over kept-alive HTTP/1.1 connections."""

    name: ClassVar[str] = "native"
    version: ClassVar[str] = "1"

    def preflight(self, treatment: Treatment) -> None:
        """Load the model's tokenizer, if it names one: a wrong one must not cost a deployment."""
        from llmatrix.harness.native.tokenized import (  # noqa: PLC0415 - needs a tokenizer library
            TokenizerError,
            tokenizer_words,
        )

        tokenizer = treatment.model.tokenizer
        if not isinstance(tokenizer, TokenizerFolder):
            return
        try:
            tokenizer_words(Path(tokenizer.path))
        except TokenizerError as error:
            raise UserError(str(error)) from error

    def run(
        self, job: Job, *, progress: Callable[[Progress], None], stop: threading.Event
    ) -> Measurement:
        """Send the workload; see the protocol.

        Raises:
            StepFailure: USER where the job cannot be sent at all; SERVER where nothing but failing
                connections was met for 5 s (the rows are written all the same); WORKLOAD where
                the child broke.
            Stopped: ``stop`` was set meanwhile; the child has ended.
        """
        orders = orders_of(job)
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "llmatrix.harness.native.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
            try:
                return _follow(child, orders, progress, stop, log)
            finally:
                child.kill()
                child.wait()
                for pipe in (child.stdin, child.stdout):
                    if pipe is not None:
                        pipe.close()


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
    load = workload.load
    router = (target.router_metrics_url,) if target.router_metrics_url else ()
    return Orders(
        base_url=target.base_url,
        model=target.model,
        api_key_env=target.api_key_env,
        metrics_urls=(*target.metrics_urls, *router),
        vocab_size=job.model.vocab_size,
        tokenizer=job.model.tokenizer.path
        if isinstance(job.model.tokenizer, TokenizerFolder)
        else job.model.tokenizer,
        groups=workload.groups if isinstance(workload, SharedPrefixWorkload) else 0,
        prefix_len=workload.prefix_len if isinstance(workload, SharedPrefixWorkload) else 0,
        question_len=workload.question_len,
        output_len=workload.output_len,
        rate=None if isinstance(load, ClosedLoop) else load.final_rate,
        gap_cv=1.0 if isinstance(load, ClosedLoop) else load.gap_cv,
        concurrency=load.concurrency if isinstance(load, ClosedLoop) else None,
        warmup=workload.warmup,
        duration=workload.duration,
        drain=workload.drain,
        timeout=workload.timeout,
        api=workload.api,
        prompt=workload.prompt,
        seed=job.seed,
        folder=str(job.folder),
        ramp=() if isinstance(load, ClosedLoop) else load.pieces,
    )


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


def _follow(
    child: subprocess.Popen[bytes],
    orders: Orders,
    progress: Callable[[Progress], None],
    stop: threading.Event,
    log: IO[bytes],
) -> Measurement:
    assert child.stdin is not None  # noqa: S101 - it was asked for
    try:
        child.stdin.write(orders.to_line())
        child.stdin.flush()
    except BrokenPipeError:
        pass  # it died at once; what it wrote to its log says why
    deadline = time.monotonic() + orders.window[1] + orders.drain + _SLACK_S
    for message in _messages(child, stop, deadline):
        kind = message.pop("kind")
        if kind == PROGRESS:
            progress(Progress(**message))
        elif kind == FAILURE:
            raise StepFailure(message["message"], FailureClass(message["failure"]), log=_tail(log))
        else:
            return Measurement(**{**message, "window_s": tuple(message["window_s"])})
    code = child.wait()
    raise StepFailure(
        f"the load generator ended with code {code} and said nothing",
        FailureClass.WORKLOAD,
        log=_tail(log),
    )


def _messages(
    child: subprocess.Popen[bytes], stop: threading.Event, deadline: float
) -> Iterator[dict[str, Any]]:
    """Give the child's lines until it ends.

    Raises:
        Stopped: the event was set.
        StepFailure: WORKLOAD: the child is silent beyond all time that the workload may take.
    """
    assert child.stdout is not None  # noqa: S101 - it was asked for
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if stop.is_set():
                raise Stopped("the workload was stopped; nothing of this trial is kept")
            if time.monotonic() > deadline:
                raise StepFailure(
                    "the load generator did not end in time; it was killed", FailureClass.WORKLOAD
                )
            if not selector.select(_POLL_S):
                continue
            read = os.read(child.stdout.fileno(), 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from (json.loads(line) for line in lines)


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_BYTES))
    return log.read().decode("utf-8", "replace")
