"""``llmatrix run``: run what is missing of an experiment, and say where its report is."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

from llmatrix.cli.options import experiment_options, strict_option
from llmatrix.cli.plan import summary
from llmatrix.cli.prepare import Prepared, prepare
from llmatrix.cli.printable import printable
from llmatrix.cli.run_state import RunState
from llmatrix.cli.wording import counted
from llmatrix.errors import Cancelled, Detached, LlmatrixError, Stopped
from llmatrix.results.store import Store
from llmatrix.steps.events import Event, Warned

_SHOW_CURSOR: Final = b"\r\n\x1b[?25h"


@click.command
@experiment_options
@strict_option
@click.option("--engine", metavar="NAME", help="Carry the trials by this engine, not the file's.")
@click.option("--fresh", is_flag=True, help="Measure every trial again, also those with a record.")
@click.option("--redo-invalid", is_flag=True, help="Measure invalid trials again, too.")
@click.option(
    "--keep",
    is_flag=True,
    help="Leave the last deployment up; `llmatrix gc --kept` (on a cluster: --cluster) ends it.",
)
def command(
    file: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    *,
    strict: bool,
    engine: str | None,
    fresh: bool,
    redo_invalid: bool,
    keep: bool,
) -> int:
    """Run what is missing of an experiment, and say where its report is.

    Trials that have a record are not run again. Ctrl-C stops without loss: run the same command
    again to go on.
    """
    if engine is not None:
        overrides = (*overrides, f"run.engine={engine}")
    prepared = prepare(file, overrides, only, strict=strict)
    return _run(prepared, fresh=fresh, redo_invalid=redo_invalid, keep=keep)


def _run(prepared: Prepared, *, fresh: bool, redo_invalid: bool, keep: bool) -> int:
    from llmatrix.cli.live import face  # noqa: PLC0415 - rich, only when something is shown
    from llmatrix.cli.preflight import preflight  # noqa: PLC0415
    from llmatrix.cli.run_state import run_state  # noqa: PLC0415
    from llmatrix.engines.protocol import Orders  # noqa: PLC0415
    from llmatrix.engines.registry import engine  # noqa: PLC0415
    from llmatrix.results.folder import open_store  # noqa: PLC0415
    from llmatrix.results.records import untrusted  # noqa: PLC0415

    plan, experiment = prepared.plan, prepared.plan.experiment
    preflight(plan, experiment.run.engine)
    store = open_store(experiment.results.store, folder=prepared.loaded.path.parent)
    done = frozenset() if fresh else with_earlier(prepared, store)
    if redo_invalid:
        done -= untrusted(store, experiment.name)
    state = run_state(plan, done)
    for line in summary(plan):
        click.echo(line, err=True)
    if state.reused:
        click.echo(
            f"{counted(state.reused, 'trial')} of {state.planned:,} measured before, and reused",
            err=True,
        )
    write_manifest_of(prepared, store)
    if state.reused < state.planned:
        with face(state) as tell, _stop_on_interrupt(tell.stopping) as stop:
            try:
                engine(experiment.run.engine).run(
                    plan, store, Orders(done, keep), tell=tell, stop=stop
                )
            except Detached:
                raise Detached(_left(prepared, state)) from None
            except Cancelled:
                raise Cancelled(_stopped(state, "cancelled elsewhere")) from None
            except Stopped:
                raise Stopped(_stopped(state, "stopped")) from None
    return _tell_end(state, store, experiment.name)


def _tell_end(state: RunState, store: Store, experiment: str) -> int:
    from llmatrix.results.places import join  # noqa: PLC0415 - with the rest of the results

    measured = state.done - state.failed
    told = f"{measured:,} of {counted(state.planned, 'trial')} measured"
    if state.invalid:
        told += f"; {state.invalid:,} of this run invalid"
    if state.failed:
        told += f"; {state.failed} failed, and the same command tries them again"
    click.echo(told, err=True)
    if state.invalid:
        click.echo("mend what made them invalid, then add --redo-invalid", err=True)
    click.echo(f"next: llmatrix report {shlex.quote(join(store.url, experiment))}", err=True)
    return LlmatrixError.exit_code if state.failed else 0


def _stopped(state: RunState, how: str) -> str:
    return (
        f"{how}; {state.done} of {counted(state.planned, 'trial')} done and kept. "
        f"Go on with the same command: {shlex.join(['llmatrix', *sys.argv[1:]])}"
    )


def _left(prepared: Prepared, state: RunState) -> str:
    file = shlex.quote(str(prepared.loaded.path))
    return (
        f"left; {state.done} of {counted(state.planned, 'trial')} done, and the run goes on in the "
        f"cluster. Watch it again: {shlex.join(['llmatrix', *sys.argv[1:]])}; look: llmatrix "
        f"status {file}, llmatrix logs {file}; end it: llmatrix cancel {file}"
    )


def with_earlier(prepared: Prepared, store: Store) -> frozenset[str]:
    """Give the trials that have a record, those included that an earlier run left on the cluster.

    Raises:
        LlmatrixError: the store or the cluster cannot be asked.
    """
    from llmatrix.engines.registry import engine  # noqa: PLC0415 - each verb imports what it needs
    from llmatrix.results.records import finished  # noqa: PLC0415

    plan, experiment = prepared.plan, prepared.plan.experiment
    done = frozenset(finished(store, experiment.name))
    if all(trial.id in done for trial in plan):
        return done
    brought = engine(experiment.run.engine).bring(plan, store, done, tell=_say_warning)
    if not brought:
        return done
    click.echo(f"{counted(brought, 'record')} of an earlier run copied from the cluster", err=True)
    return frozenset(finished(store, experiment.name))


def _say_warning(event: Event) -> None:
    if isinstance(event, Warned):
        click.echo(f"warning: {printable(event.message)}", err=True)


def write_manifest_of(prepared: Prepared, store: Store) -> None:
    """Keep beside the records what they belong to; the report shows it."""
    from llmatrix.results.manifest import (  # noqa: PLC0415 - only a run writes it
        Manifest,
        PlannedTrials,
        write_manifest,
    )

    experiment = prepared.plan.experiment
    write_manifest(
        store,
        Manifest(
            name=experiment.name,
            file=prepared.loaded.path.read_text(encoding="utf-8"),
            slo=experiment.slo.model_dump(exclude_none=True),
            seed=experiment.run.seed,
            factors={f.path: [level.label for level in f.levels] for f in prepared.loaded.factors},
            plan=PlannedTrials(trials=[trial.id for trial in prepared.whole]),
            command=shlex.join(["llmatrix", *sys.argv[1:]]),
        ),
    )


@contextlib.contextmanager
def _stop_on_interrupt(told: Callable[[], None]) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, SIGTERM or a closed terminal sets; the second one ends at once."""
    stop = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            _end_at_once()
        stop.set()
        if number == signal.SIGHUP:
            _write_nowhere()
        told()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup a run goes on
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once() -> NoReturn:
    """End without taking anything down: lanes may wait for what does not answer."""
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR)
    os.write(2, b"ended at once; what stands is ended by the same command, or by `llmatrix gc`\n")
    os._exit(Stopped.exit_code)


def _write_nowhere() -> None:
    """Let what is still told go nowhere: the terminal is gone, and writing to it would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.dup2(nowhere, descriptor)
