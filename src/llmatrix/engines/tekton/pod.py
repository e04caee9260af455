"""What runs inside the pod of a TaskRun: one step of a trial, with what the step before left."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.slots import Slots
from llmatrix.engines.tekton.pod_files import brought
from llmatrix.engines.tekton.pod_log import PodLog, levels, printable, say
from llmatrix.engines.tekton.pod_log import ended as ended_line
from llmatrix.engines.tekton.shown import replicate as replicate_of
from llmatrix.errors import EnvironmentFault, LlmatrixError, Stopped, UserError
from llmatrix.harness.registry import harness
from llmatrix.plan.document import decode_trials
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.folder import open_store
from llmatrix.results.record import Failure, Outcome, Record, StepOutcome
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.registry import stack
from llmatrix.steps import idle
from llmatrix.steps.in_turn import foreseen, read_so_far, take_step, write_so_far
from llmatrix.steps.lane_orders import LaneOrders
from llmatrix.steps.run import TrialRun
from llmatrix.steps.told import DETAIL, OUTCOME, RESULTS, shortened, told

_TRIAL: Final = "trial.txt"
_ORDERS: Final = "orders.txt"
_SITE: Final = "site"


@dataclass(frozen=True, slots=True)
class Given:
    """The documents that came with the task.

    Attributes:
        trials: as ``plan.document.encode_trials`` wrote them.
        orders: as ``LaneOrders.encoded`` wrote them.
        picks: factor paths and the labels of their levels, and ``replicate``, by which one of
            several trials is meant.
    """

    trials: str
    orders: str
    picks: Mapping[str, str]


def take_in(given: Given, work: Path) -> None:
    """Leave the trial and its orders in the working folder, for this step and those after it.

    Raises:
        UserError: they are damaged, or name no trial, or were written by another version.
    """
    from llmatrix.plan.document import encode_trials  # noqa: PLC0415 - only the first step does

    LaneOrders.decoded(given.orders)
    trial = picked(decode_trials(given.trials), given.picks)
    check_versions(trial)
    work.mkdir(parents=True, exist_ok=True)
    (work / _TRIAL).write_text(encode_trials([trial]))
    (work / _ORDERS).write_text(given.orders)


def picked(trials: list[Trial], picks: Mapping[str, str]) -> Trial:
    """Find the trial that has the picked levels.

    Raises:
        UserError: none or several have.
    """
    wanted = dict(picks)
    replicate = wanted.pop("replicate", None)
    found = [
        trial
        for trial in trials
        if all(trial.levels.get(path) == label for path, label in wanted.items())
        and replicate in (None, replicate_of(trial))
    ]
    if len(found) != 1:
        raise UserError(f"{len(found)} of {len(trials)} trials have the levels {dict(picks)}")
    return found[0]


def check_versions(trial: Trial) -> None:
    """Refuse to measure with other programs than those the trial was planned for.

    Raises:
        UserError: they are others; its record would say what is not so.
    """
    kind, name = trial.treatment.stack.kind, trial.treatment.workload.harness
    here = {
        "harness": f"{name}/{harness(name).version}",
        "stack": f"{kind}/{stack(kind, on='kubernetes').version}",
    }
    if here != dict(trial.versions):
        raise UserError(
            f"the trial was planned for {dict(trial.versions)}, and this image has {here}; use the "
            f"image of the llmatrix that submitted it"
        )


def run_step(
    step: Step, given: Given | None, work: Path, told_at: Path, stop: threading.Event
) -> int:
    """Do one step, tell its outcome beside ``told_at``, and give the exit code of the process.

    Args:
        step: which.
        given: the documents, to the first step.
        work: the folder that the steps of the trial share.
        told_at: the file for the outcome; the other results go beside it.
        stop: set when the process is told to end.

    Raises:
        LlmatrixError: it could not be done at all, or the process was told to end.
    """
    outcome, detail, figures = Outcome.FAILED.value, "", dict.fromkeys(RESULTS, "")
    try:
        if given is not None:
            take_in(given, work)
        orders = LaneOrders.decoded(_read(work / _ORDERS))
        (trial,) = decode_trials(_read(work / _TRIAL))
        with Cluster.connect() as cluster:
            slots = slots_of(cluster, orders)
            if step is Step.NAMESPACE:
                say(f"trial {trial.id}: {levels(trial)}")
                _take_slot(slots, stop)
            so_far = read_so_far(work)
            run = trial_run(trial, orders, cluster, work, stop)
            ended, result = take_step(step, run, so_far, retries=orders.retries)
            write_so_far(work, so_far)
            if step is Step.NAMESPACE:
                idle.leave(work, {one.step.value: _said(one) for one in _idle(run, slots)})
            if slots is not None and step is Step.TEARDOWN:
                slots.release(_pod())
        outcome, detail = ended.outcome.value, ended.detail
        if result is not None:
            figures = told(result)
            _say_result(result)
    except LlmatrixError as error:
        detail = str(error)
        raise
    finally:
        _tell(told_at.parent, {OUTCOME: outcome, DETAIL: shortened(detail), **figures})
    return 1 if ended.outcome is Outcome.FAILED else 0


def trial_run(
    trial: Trial, orders: LaneOrders, cluster: Cluster, work: Path, stop: threading.Event
) -> TrialRun:
    """Put together what the steps of a trial work on."""
    address = orders.site_of(trial)
    folder = work / _SITE / address.name
    folder.mkdir(parents=True, exist_ok=True)
    return TrialRun(
        trial=trial,
        site=KubernetesSite(cluster, address, folder),
        stack=stack(trial.treatment.stack.kind, on="kubernetes"),
        harness=harness(trial.treatment.workload.harness),
        store=open_store(orders.store, folder=Path("/")),
        stop=stop,
        tell=PodLog(),
        lane=address.lane,
        closes=orders.fresh,
        files=lambda treatment: brought(treatment, cluster, address, folder),
    )


def _idle(run: TrialRun, slots: Slots | None) -> list[StepOutcome]:
    """Give the steps that will have nothing to do. The last one has, where slots are held."""
    return [one for one in foreseen(run) if slots is None or one.step is not Step.TEARDOWN]


def slots_of(cluster: Cluster, orders: LaneOrders) -> Slots | None:
    """Give the slots that limit how many trials of a lane are on their way; None: no limit."""
    if not orders.slots:
        return None
    site = orders.site
    return Slots(cluster, site.home, site.name, orders.slots, site.labels())


def _take_slot(slots: Slots | None, stop: threading.Event) -> None:
    if slots is None:
        return
    if not slots.take(_pod(), stop):
        raise Stopped("told to end while it waited for its turn")


def _pod() -> str:
    name = os.environ.get("HOSTNAME", "")
    if not name:
        raise EnvironmentFault("HOSTNAME does not name the pod; slots cannot be held without")
    return name


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        raise UserError(
            f"{file} is not there: the step `namespace` leaves it, and did not"
        ) from None


def _said(outcome: StepOutcome) -> dict[str, Any]:
    """Give what a process that has nothing to do keeps, tells and prints."""
    return {
        "outcome": outcome.model_dump(mode="json"),
        "results": {OUTCOME: outcome.outcome.value, DETAIL: shortened(outcome.detail)},
        "line": printable(ended_line(outcome)),
    }


def _tell(folder: Path, results: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in results.items():
        (folder / name).write_text(value)


def _say_result(result: Record | Failure) -> None:
    shown = {name: value for name, value in told(result).items() if value}
    say("; ".join(f"{name} {value}" for name, value in shown.items()))
