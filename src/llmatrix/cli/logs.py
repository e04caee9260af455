"""``llmatrix logs``: what the steps of trials said, from their pods or from what they left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from llmatrix.cli.cluster_options import cluster_options, home_of, stop_on_interrupt
from llmatrix.cli.printable import printable
from llmatrix.errors import StoreFault, UserError

if TYPE_CHECKING:
    from llmatrix.cli.prepare import Prepared
    from llmatrix.cluster.api import Cluster
    from llmatrix.engines.tekton.overview import Overview, TrialOnCluster
    from llmatrix.results.record import Attempt, StepOutcome

_STEPS = ("namespace", "gateway", "router", "model", "server", "workload", "upload", "teardown")
_MOST: Final = 32
"""Trials followed at once."""
_LOOK_S: Final = 2.0


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("trial", required=False)
@click.option("--step", type=click.Choice(_STEPS), help="Only this step.")
@click.option("--follow", "-f", is_flag=True, help="Go on showing lines as they come.")
@cluster_options
def command(
    file: Path,
    trial: str | None,
    step: str | None,
    namespace: str | None,
    context: str | None,
    *,
    follow: bool,
) -> None:
    """Show what the steps of an experiment's trials said on a cluster.

    TRIAL is the beginning of a trial's id; without it, the trials that run now are shown, or the
    last one that ended; with --follow, all that begin until the last lane has ended. Where the pod
    is gone, what the trial left in the store is shown.
    """
    from llmatrix.cli.prepare import prepare  # noqa: PLC0415
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - only now is a cluster asked
    from llmatrix.engines.tekton.overview import overview  # noqa: PLC0415

    prepared = prepare(file, ("run.engine=tekton",), ())
    wanted = None if trial is None else _wanted(prepared, trial)
    name = prepared.plan.experiment.name
    with Cluster.connect(context, patience_s=20.0) as cluster, stop_on_interrupt() as stop:
        home = home_of(cluster, prepared.plan.experiment, namespace)
        reader = _Reader(cluster, home, step, stop)

        def look() -> Overview:
            return overview(cluster, home, name)

        if follow and wanted is None:
            _follow_all(reader, look)
            return
        chosen = _chosen(look(), wanted)
        reader = replace(reader, several=len(chosen) > 1)
        shown = map(reader.follow if follow else reader.show, chosen)
        lost = [each.trial for each, gone in zip(chosen, shown, strict=True) if gone]
    if wanted is not None and not chosen:
        lost = [wanted]
    for each in lost:
        _left_behind(prepared, each)
    if not chosen and wanted is None:
        click.echo(
            f"no trial of {name} has a pod in namespace {home}; name a TRIAL to see what it left",
            err=True,
        )


def _follow_all(reader: _Reader, look: Callable[[], Overview]) -> None:
    """Follow every trial that runs, and those that come after, until no lane goes on."""
    from llmatrix.engines.tekton.reading import Phase  # noqa: PLC0415

    reader = replace(reader, several=True)
    begun: set[str] = set()
    with ThreadPoolExecutor(_MOST) as pool:
        while not reader.stop.is_set():
            seen = look()
            for each in seen.trials():
                if each.state.phase is Phase.RUNNING and each.state.task_run not in begun:
                    begun.add(each.state.task_run)
                    pool.submit(reader.follow, each)
            if all(lane.run.phase is Phase.ENDED for lane in seen.lanes):
                break
            reader.stop.wait(_LOOK_S)


def _wanted(prepared: Prepared, beginning: str) -> str:
    ids = [trial.id for trial in prepared.whole if trial.id.startswith(beginning)]
    if len(ids) == 1:
        return ids[0]
    if ids:
        several = ", ".join(each[: len(beginning) + 4] for each in ids[:4])
        raise UserError(f"trial '{beginning}' may be {several}; write more of it")
    raise UserError(
        f"no trial of {prepared.plan.experiment.name} begins with '{beginning}'; "
        f"`llmatrix status` lists those of which something is to be said"
    )


def _chosen(seen: Overview, wanted: str | None) -> list[TrialOnCluster]:
    from llmatrix.engines.tekton.reading import Phase  # noqa: PLC0415

    found = [each for each in seen.trials() if each.state.pod]
    if wanted is not None:
        return [each for each in found if each.trial == wanted][-1:]
    running = [each for each in found if each.state.phase is Phase.RUNNING]
    return running or found[-1:]


@dataclass(frozen=True, slots=True)
class _Reader:
    cluster: Cluster
    home: str
    step: str | None
    stop: threading.Event
    several: bool = False

    def show(self, trial: TrialOnCluster) -> bool:
        """Show what there is; tell whether the pod was gone."""
        from llmatrix.cluster.logs import PodGone, lines  # noqa: PLC0415

        for step in self._steps(trial):
            try:
                found = lines(self.cluster, trial.state.pod, self.home, f"step-{step}")
            except PodGone:
                return True
            for line in found:
                self._say(trial, step, line)
        return False

    def follow(self, trial: TrialOnCluster) -> bool:
        """Show lines as they come, step after step; tell whether the pod was gone at first."""
        from llmatrix.cluster.logs import PodGone, followed  # noqa: PLC0415

        shown = False
        for step in self._steps(trial):
            try:
                name = f"step-{step}"
                for line in followed(self.cluster, trial.state.pod, self.home, name, self.stop):
                    shown = True
                    self._say(trial, step, line)
            except PodGone:
                return not shown
        return False

    def _steps(self, trial: TrialOnCluster) -> Sequence[str]:
        every = [state.step for state in trial.state.steps]
        return [step for step in every if self.step in (None, step)]

    def _say(self, trial: TrialOnCluster, step: str, line: str) -> None:
        which = f"{trial.trial[:8] or trial.state.task_run} " if self.several else ""
        click.echo(f"{which}{step}: {printable(line)}")


def _left_behind(prepared: Prepared, trial: str) -> None:
    """Show what a trial left in the store."""
    from llmatrix.results.folder import open_store  # noqa: PLC0415

    experiment = prepared.plan.experiment
    store = open_store(experiment.results.store, folder=prepared.loaded.path.parent)
    click.echo(f"the pod of trial {trial[:8]} is gone; from the store {store.url}:", err=True)
    try:
        for line in _results(prepared, trial):
            click.echo(line)
    except StoreFault as fault:
        raise StoreFault(f"{fault}; records that wait on a claim are brought by: llmatrix run "
                         f"{prepared.loaded.path} --engine tekton") from fault  # fmt: skip


def _results(prepared: Prepared, trial: str) -> Iterator[str]:
    from llmatrix.results.folder import open_store  # noqa: PLC0415
    from llmatrix.results.records import read_failure, read_record  # noqa: PLC0415

    experiment = prepared.plan.experiment
    store = open_store(experiment.results.store, folder=prepared.loaded.path.parent)
    try:
        record = read_record(store, experiment.name, trial)
    except KeyError:
        try:
            failure = read_failure(store, experiment.name, trial)
        except KeyError:
            raise StoreFault(f"trial {trial[:8]} left nothing there") from None
        yield from map(_outcome, failure.steps)
        yield from map(_try, failure.attempts)
        yield from (printable(line) for line in failure.log.splitlines())
        return
    yield from map(_outcome, record.steps)
    yield from map(_try, record.attempts)
    for name in sorted(record.files):
        if name.startswith("logs/"):
            text = store.get(f"{experiment.name}/{trial}/{name}").decode(errors="replace")
            yield from (f"{name[5:]}: {printable(line)}" for line in text.splitlines())


def _outcome(each: StepOutcome) -> str:
    detail = f" ({printable(each.detail)})" if each.detail else ""
    return f"{each.step}: {each.outcome} in {each.seconds:.1f} s{detail}"


def _try(each: Attempt) -> str:
    return f"{each.step}: a try failed: {printable(each.message)}"
