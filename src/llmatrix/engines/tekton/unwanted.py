"""What interrupted runs left on a cluster: which of it may be removed. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import (
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    PERSISTENT_VOLUME_CLAIM,
    PIPELINE_RUN,
    POD,
    STEP_ACTION,
    TASK,
    Kind,
    Object,
)
from llmatrix.engines.tekton.reading import LaneRun, Phase, moment
from llmatrix.engines.tekton.sites import Piece, StandingSite
from llmatrix.stacks.llmd.model import COMPONENT

UNUSED_S: Final = 86400.0
"""Age from which a Task or StepAction that no PipelineRun names is taken for forgotten."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """Something to remove: what it is called, why, and the objects."""

    told: str
    why: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, in this order.

    Attributes:
        end: PipelineRuns that go on though they have expired, to be ended first.
        remove: what to remove then.
        going: names of experiments of which a run is going on, and which are left alone.
        kept: names of sites that were left standing on purpose, and are left alone.
    """

    end: tuple[LaneRun, ...]
    remove: tuple[Doomed, ...]
    going: tuple[str, ...]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands in and for a home namespace.

    Attributes:
        sites: of the home namespace, looked at first.
        runs: all its PipelineRuns that llmatrix made, of every experiment.
        definitions: its Tasks and StepActions that llmatrix made.
        pods: its pods that llmatrix made and that are of no site: those that hand records out.
        claims: its claims that hold models, and outlive the sites that they were made for.
        carried: its ConfigMaps with what trials need besides their documents.
        bindings: ClusterRoleBindings of other home namespaces, which are gone.
    """

    sites: Sequence[StandingSite]
    runs: Sequence[LaneRun]
    definitions: Sequence[tuple[Kind, Object]] = ()
    pods: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    carried: Sequence[Object] = ()
    bindings: Sequence[Object] = ()


def decide(
    seen: Seen, now: float, experiment: str | None = None, *, with_kept: bool = False
) -> Decision:
    """Choose what nobody wants any more.

    A PipelineRun goes when it has expired; if it has not ended it is ended first. A site goes when
    it has expired, or when no PipelineRun of its run is alive, unless it was left standing on
    purpose. With ``experiment``, only what is of that experiment goes, and its PipelineRuns that
    have ended go at once. A PipelineRun that is alive, pending ones included, keeps everything of
    its run.

    Args:
        seen: what stands.
        now: POSIX seconds.
        experiment: label value of an experiment, or None for all.
        with_kept: also what was kept and has not expired.
    """
    runs = [run for run in seen.runs if experiment in (None, run.experiment)]
    sites = [site for site in seen.sites if experiment in (None, site.experiment)]
    late = [run for run in runs if _expired(run.expires, now)]
    end = [run for run in late if run.phase is not Phase.ENDED]
    alive = {
        (run.experiment, run.run)
        for run in seen.runs
        if run.phase is not Phase.ENDED and not _expired(run.expires, now)
    }
    over = [site for site in sites if (site.experiment, site.run) not in alive]
    kept = [s for s in over if s.kept and not with_kept and not _expired(s.expires, now)]
    doomed = [_doomed_site(site, now) for site in over if site not in kept]
    doomed += [_doomed_run(run, "it has expired") for run in late]
    if experiment is not None:
        ended = [run for run in runs if run.phase is Phase.ENDED and run not in late]
        doomed += [_doomed_run(run, "it has ended") for run in ended]
    else:
        doomed += [*_late_pods(seen, now), *_late_claims(seen, now), *_unused(seen, now)]
        doomed += [_doomed_binding(each) for each in seen.bindings]
    doomed += _unread(seen, {name for name, _ in alive}, now, experiment)
    going = {name for name, _ in alive if experiment in (None, name)}
    names = tuple(site.name for site in kept)
    return Decision(tuple(end), tuple(doomed), tuple(sorted(going)), names)


def _expired(expires: int | None, now: float) -> bool:
    return expires is not None and expires < now


def _doomed_site(site: StandingSite, now: float) -> Doomed:
    why = "it has expired" if _expired(site.expires, now) else "its run is over"
    return Doomed(f"site {site.name}", why, site.pieces)


def _doomed_run(run: LaneRun, why: str) -> Doomed:
    return Doomed(f"PipelineRun {run.name}", why, (Piece.of(PIPELINE_RUN, run.document),))


def _doomed_binding(binding: Object) -> Doomed:
    name = binding["metadata"]["name"]
    pieces = (Piece.of(CLUSTER_ROLE_BINDING, binding),)
    return Doomed(f"ClusterRoleBinding {name}", "its home namespace is gone", pieces)


def _late_pods(seen: Seen, now: float) -> list[Doomed]:
    """Choose the pods by themselves that have expired; those of sites go with their sites."""
    return [
        Doomed(f"pod {each['metadata']['name']}", "it has expired", (Piece.of(POD, each),))
        for each in seen.pods
        if labels.SITE not in each["metadata"]["labels"]
        and not each["metadata"].get("ownerReferences")
        and _expired(_second(each["metadata"]["labels"].get(labels.EXPIRES, "")), now)
    ]


def _late_claims(seen: Seen, now: float) -> list[Doomed]:
    """Choose the claims that hold models and have expired; every site that uses one renews it.

    One that is mounted all the same stays until it is not (Kubernetes, "Storage Object in Use
    Protection").
    """
    return [
        Doomed(
            f"claim {each['metadata']['name']}",
            "it has expired",
            (Piece.of(PERSISTENT_VOLUME_CLAIM, each),),
        )
        for each in seen.claims
        if labels.SITE not in each["metadata"]["labels"]
        and each["metadata"]["labels"].get(labels.COMPONENT) == COMPONENT
        and _expired(_second(each["metadata"]["labels"].get(labels.EXPIRES, "")), now)
    ]


def _second(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _unused(seen: Seen, now: float) -> list[Doomed]:
    """Choose the Tasks that no PipelineRun names, and the StepActions that no other Task names.

    They are shared between runs and made before them, so young ones are left alone.
    """
    used_tasks = {name for run in seen.runs for name in _task_names(run.document)}
    tasks = [each for kind, each in seen.definitions if kind is TASK]
    actions = [each for kind, each in seen.definitions if kind is STEP_ACTION]
    lost = [each for each in tasks if each["metadata"]["name"] not in used_tasks]
    lost = [each for each in lost if _old(each, now)]
    kept = [each for each in tasks if each not in lost]
    used_actions = {step["ref"]["name"] for each in kept for step in _steps(each) if "ref" in step}
    idle = [each for each in actions if each["metadata"]["name"] not in used_actions]
    idle = [each for each in idle if _old(each, now)]
    return [
        Doomed(
            f"{kind.name} {each['metadata']['name']}", "nothing uses it", (Piece.of(kind, each),)
        )
        for kind, several in ((TASK, lost), (STEP_ACTION, idle))
        for each in several
    ]


def _unread(seen: Seen, alive: Collection[str], now: float, experiment: str | None) -> list[Doomed]:
    """Choose what is carried and no step will read any more.

    They are made before the PipelineRuns that need them, so young ones are left alone.
    """
    found = []
    for each in seen.carried:
        marks = each["metadata"]["labels"]
        of = marks.get(labels.EXPERIMENT, "")
        if of in alive or experiment not in (None, of):
            continue
        late = _expired(_second(marks.get(labels.EXPIRES, "")), now)
        if late or _old(each, now) or experiment is not None:
            why = "it has expired" if late else "nothing uses it"
            name = each["metadata"]["name"]
            found.append(Doomed(f"ConfigMap {name}", why, (Piece.of(CONFIG_MAP, each),)))
    return found


def _old(document: Object, now: float) -> bool:
    made = moment(document["metadata"].get("creationTimestamp"))
    return made is not None and now - made > UNUSED_S


def _task_names(run: Object) -> Iterable[str]:
    spec = run.get("spec", {}).get("pipelineSpec") or {}
    for task in [*(spec.get("tasks") or ()), *(spec.get("finally") or ())]:
        if "taskRef" in task:
            yield task["taskRef"].get("name", "")


def _steps(task: Object) -> Iterable[Object]:
    steps: list[Object] = (task.get("spec") or {}).get("steps") or []
    return steps
