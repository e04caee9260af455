"""``llmatrix step``: one step of one trial, in the pod of a TaskRun."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import click

from llmatrix.plan.step import Step


@click.command
@click.argument("name", type=click.Choice([step.value for step in Step]))
@click.option("--trial", "trials", default="", help="The trial, as a document that travels.")
@click.option("--orders", default="", help="The lane's orders, as a document that travels.")
@click.option("--pick", multiple=True, metavar="PATH=LABEL", help="Which trial of several.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder that the steps of the trial share.",
)
@click.option(
    "--told",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File for the outcome; the other results go beside it.",
)
def command(
    name: str, trials: str, orders: str, pick: tuple[str, ...], work: Path, told: Path
) -> int:
    """Do one step of one trial: what the Tasks that llmatrix makes run, not people.

    The documents are given to the first step, which leaves them for the others.
    """
    from llmatrix.engines.tekton.pod import Given, run_step  # noqa: PLC0415

    picks = {path: label for path, _, label in (each.rpartition("=") for each in pick)}
    given = Given(trials, orders, picks) if trials or orders else None
    with stopped_by_signal() as stop:
        return run_step(Step(name), given, work, told, stop)


@contextlib.contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """Give an event that SIGTERM, with which Kubernetes ends a container, or Ctrl-C sets."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
