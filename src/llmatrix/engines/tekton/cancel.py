"""End an experiment on a cluster: its PipelineRuns first, then whatever stands, then the objects.

``Cancelled`` would skip the ``finally`` tasks; ``CancelledRunFinally`` ends the running trial and
lets them take the sites down. What they leave (a lost pod, no controller, no time) is removed here.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import (
    PERSISTENT_VOLUME_CLAIM,
    PIPELINE_RUN,
    POD,
    TASK_RUN,
    Object,
)
from llmatrix.cluster.naming import label_value
from llmatrix.cluster.watching import Seen, Wanted, following
from llmatrix.engines.tekton import carried
from llmatrix.engines.tekton.reading import LaneRun, Phase, read_lane
from llmatrix.engines.tekton.sites import (
    AT_ONCE,
    Piece,
    Say,
    find_sites,
    remove,
    unused_definitions,
)
from llmatrix.errors import Stopped
from llmatrix.results.claim import READER

FINALLY_S: Final = 25.0
"""How long the ``finally`` tasks are waited for before we take the sites down ourselves."""
PATIENCE_S: Final = 120.0
"""How long all of it may take."""
_EVERY_S: Final = 0.5
CANCEL: Final = "CancelledRunFinally"
Stop = threading.Event


@dataclass(slots=True)
class Ending:
    """What a cancellation did.

    Attributes:
        ended: PipelineRuns that were under way.
        dropped: PipelineRuns that had not begun.
        sites: names of the sites that we had to take down ourselves.
        left: what could not be removed, in words.
        unseen: what we may not look at, in words.
        claims: names of the claims that hold records, and stay.
        removed: PipelineRuns removed at the end.
    """

    ended: int = 0
    dropped: int = 0
    sites: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    removed: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to end and nothing to remove."""
        return not (self.ended or self.dropped or self.sites or self.left or self.removed)


def of_experiment(experiment: str) -> dict[str, str | None]:
    """Give the labels of everything that belongs to an experiment."""
    return {labels.MANAGED_BY: labels.OURS, labels.EXPERIMENT: label_value(experiment)}


def cancel(
    cluster: Cluster,
    home: str,
    experiment: str,
    *,
    keep_runs: bool,
    say: Say,
    stop: Stop,
) -> Ending:
    """End an experiment; what is left, if anything, is in the answer.

    Raises:
        ClusterFault: the cluster cannot be reached, or refuses the first look.
        Stopped: ``stop`` was set; what was told to end ends.
    """
    give_up = time.monotonic() + PATIENCE_S
    selection = of_experiment(experiment)
    ending = Ending()
    runs = [read_lane(each) for each in cluster.find(PIPELINE_RUN, home, selection)]
    if not end_runs(cluster, home, runs, selection, ending, say=say, stop=stop):
        _take_down(cluster, home, experiment, Ending(), _Limits(give_up, say, stop))
    _wait_for_pods(cluster, home, experiment, give_up, say, stop)
    _take_down(cluster, home, experiment, ending, _Limits(give_up, say, stop))
    beside = carried.pieces(carried.standing(cluster, home, experiment))
    ending.left += remove(cluster, beside, _until(give_up), stop=stop)
    begun = [run for run in runs if run.phase is not Phase.PENDING]
    if begun and not keep_runs:
        say(f"removing {_counted(len(begun))}")
        _remove_runs(cluster, home, begun, ending, give_up, stop)
        begun_with = [*_readers(cluster, home, selection), *unused_definitions(cluster, home)]
        ending.left += remove(cluster, begun_with, _until(give_up), stop=stop)
    ending.claims += _claims(cluster, home, selection)
    return ending


@dataclass(frozen=True, slots=True)
class _Limits:
    give_up: float
    say: Say
    stop: Stop


def _take_down(
    cluster: Cluster, home: str, experiment: str, ending: Ending, limits: _Limits
) -> None:
    """Take down the sites that stand."""
    found = find_sites(cluster, home, {labels.EXPERIMENT: label_value(experiment)})
    ending.unseen += found.unseen
    if not found.sites:
        return
    ending.sites += [site.name for site in found.sites]
    limits.say(f"taking down what still stands: {', '.join(ending.sites)}")
    pieces = [piece for site in found.sites for piece in site.pieces]
    ending.left += remove(cluster, pieces, _until(limits.give_up), stop=limits.stop)


def end_runs(
    cluster: Cluster,
    home: str,
    runs: Sequence[LaneRun],
    selection: dict[str, str | None],
    ending: Ending,
    *,
    say: Say,
    stop: Stop,
) -> bool:
    """Drop the PipelineRuns that have not begun, tell the others to end, and wait for them.

    The waiting ones go first, lest the end of one lets the next begin.

    Returns:
        Whether all have ended; if not, what they left stands.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    waiting = [run for run in runs if run.phase is Phase.PENDING]
    live = {run.name for run in runs if run.phase in (Phase.WAITING, Phase.RUNNING)}
    if waiting:
        say(f"dropping what has not begun: {_counted(len(waiting))}")
        left = remove(cluster, [_piece(run) for run in waiting], FINALLY_S, stop=stop)
        ending.left += left
        ending.dropped += len(waiting) - len(left)
    if not live:
        return True
    told: set[str] = set()
    give_up = time.monotonic() + FINALLY_S
    say(f"ending {_counted(len(live))}; waiting for the sites to be taken down")
    with following(cluster, Wanted(PIPELINE_RUN, home, selection)) as seen:
        _tell(cluster, home, live, told, ending)
        while time.monotonic() < give_up:
            if stop.is_set():
                raise Stopped("stopped; the runs were told to end, and end by themselves")
            now = _next(seen)
            if now is None:
                continue
            read = [read_lane(each) for each in now.objects.values() if _ours(each, runs)]
            going = {r.name for r in read if r.phase in (Phase.WAITING, Phase.RUNNING)}
            _tell(cluster, home, going, told, ending)
            if not going:
                return True
    say(f"the runs have not ended within {FINALLY_S:g} s; going on without them")
    return False


def _ours(document: Object, runs: Sequence[LaneRun]) -> bool:
    """Whether a PipelineRun is one of those to end, not of a run submitted meanwhile."""
    return document["metadata"]["name"] in {run.name for run in runs}


def _next(seen: queue.SimpleQueue[Seen | Exception]) -> Seen | None:
    try:
        now = seen.get(timeout=_EVERY_S)
    except queue.Empty:
        return None
    if isinstance(now, Exception):
        raise now
    return None if now.away else now


def _tell(
    cluster: Cluster, home: str, names: Iterable[str], told: set[str], ending: Ending
) -> None:
    """Tell PipelineRuns to end, each once; one that has ended meanwhile may refuse to change."""

    def tell(name: str) -> str:
        try:
            cluster.merge(PIPELINE_RUN, name, home, {"spec": {"status": CANCEL}})
        except Refused as error:
            return f"PipelineRun {home}/{name}: {error}"
        except ClusterFault as error:
            return "" if 400 <= error.status < 500 else f"{error}"  # noqa: PLR2004
        return ""

    fresh = [name for name in names if name not in told]
    if not fresh:
        return
    told |= set(fresh)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        refusals = [each for each in pool.map(tell, fresh) if each]
    ending.ended += len(fresh) - len(refusals)
    ending.left += refusals


def _wait_for_pods(
    cluster: Cluster,
    home: str,
    experiment: str,
    give_up: float,
    say: Say,
    stop: Stop,
) -> None:
    """Wait until no pod of a trial works any more: it might go on making what we look for."""
    selection: dict[str, str | None] = {
        labels.EXPERIMENT: label_value(experiment),
        "tekton.dev/taskRun": None,
    }
    deadline = min(give_up, time.monotonic() + 35.0)
    told = False
    while time.monotonic() < deadline:
        try:
            pods = cluster.find(POD, home, selection)
        except Refused:
            return
        if all(each["status"].get("phase") in {"Succeeded", "Failed"} for each in pods):
            return
        if not told:
            say("waiting for the pods of the last trials to end")
            told = True
        if stop.wait(_EVERY_S):
            raise Stopped("stopped; the runs were told to end, and end by themselves")


def _remove_runs(
    cluster: Cluster, home: str, runs: Sequence[LaneRun], ending: Ending, give_up: float, stop: Stop
) -> None:
    """Remove the PipelineRuns, and see that their TaskRuns and pods go with them.

    The sites are gone by now, so one whose end hangs is removed like the others.
    """
    left = remove(cluster, [_piece(run) for run in runs], _until(give_up), stop=stop)
    ending.removed += len(runs) - len(left)
    ending.left += left
    ending.left += _owned_left(cluster, home, {run.name for run in runs}, give_up, stop)


def _owned_left(
    cluster: Cluster, home: str, runs: set[str], give_up: float, stop: Stop
) -> list[str]:
    """Wait for the TaskRuns and pods of removed PipelineRuns to go; say which do not."""
    mark = "tekton.dev/pipelineRun"
    while True:
        standing = []
        for kind in (TASK_RUN, POD):
            try:
                found = cluster.find(kind, home, {mark: None})
            except Refused:
                continue
            standing += [
                f"{kind.name} {home}/{each['metadata']['name']}"
                for each in found
                if each["metadata"]["labels"][mark] in runs
            ]
        if not standing or time.monotonic() > give_up:
            return [f"{each}: still there" for each in standing]
        if stop.wait(_EVERY_S):
            raise Stopped("stopped; what was told to go goes by itself")


def _readers(cluster: Cluster, home: str, selection: dict[str, str | None]) -> list[Piece]:
    """Give the pods that hand out the records of claims; who needs one makes it again."""
    wanted = {**selection, labels.COMPONENT: READER}
    try:
        return [Piece.of(POD, each) for each in cluster.find(POD, home, wanted)]
    except Refused:
        return []


def _claims(cluster: Cluster, home: str, selection: dict[str, str | None]) -> list[str]:
    try:
        found = cluster.find(PERSISTENT_VOLUME_CLAIM, home, selection)
    except Refused:
        return []
    return [each["metadata"]["name"] for each in found]


def _piece(run: LaneRun) -> Piece:
    return Piece.of(PIPELINE_RUN, run.document)


def _until(give_up: float) -> float:
    return max(give_up - time.monotonic(), 5.0)


def _counted(count: int) -> str:
    return "1 PipelineRun" if count == 1 else f"{count:,} PipelineRuns"
