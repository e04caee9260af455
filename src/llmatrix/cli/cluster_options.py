"""Options of the verbs that speak to a cluster, and what they choose."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from llmatrix.errors import UserError

if TYPE_CHECKING:
    from llmatrix.cluster.api import Cluster
    from llmatrix.spec.experiment import Experiment

F = TypeVar("F", bound=Callable[..., Any])
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")
"""Names of experiments (``spec.experiment``)."""
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def cluster_options(function: F) -> F:
    """Add the kubeconfig's context and the namespace."""
    for decorate in (
        click.option(
            "--context", metavar="NAME", help="Context of the kubeconfig; default: the current one."
        ),
        click.option(
            "--namespace",
            metavar="NAME",
            help="Namespace of the PipelineRuns; default: the file's, or the context's.",
        ),
    ):
        function = decorate(function)
    return function


def home_of(cluster: Cluster, experiment: Experiment | None, namespace: str | None) -> str:
    """Give the namespace of the PipelineRuns: as asked for, the file's, or the context's.

    Raises:
        UserError: what was asked for is no name of a namespace.
    """
    if namespace is not None:
        if not _NAMESPACE.fullmatch(namespace):
            raise UserError(
                f"--namespace: '{namespace}' is no name of a namespace: lower-case letters, "
                f"digits and dashes, at most 63"
            )
        return namespace
    own = None if experiment is None else experiment.run.cluster.namespace
    return own or cluster.namespace or "default"


def named_experiment(word: str) -> tuple[str, Experiment | None]:
    """Take a word as an experiment's file, or else as its name.

    Raises:
        UserError: it is neither.
    """
    path = Path(word)
    if path.exists() or "/" in word or path.suffix in {".yaml", ".yml", ".json"}:
        from llmatrix.spec.load import load  # noqa: PLC0415 - only when a file is given

        experiment = load(path).experiment
        return experiment.name, experiment
    if not _NAME.fullmatch(word):
        raise UserError(
            f"'{word}' is neither a file nor the name of an experiment; names are lower-case "
            f"letters, digits and dashes"
        )
    return word, None


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets; the second ends as it always does."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield stop
    finally:
        restore()
