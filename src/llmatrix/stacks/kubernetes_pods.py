"""The pods of a step, waited for until they are ready; what keeps them from it is told at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from llmatrix.cluster import pod_events, pods
from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import DEPLOYMENT, EVENT, POD, Object
from llmatrix.cluster.logs import tail
from llmatrix.cluster.pods import Trouble
from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_logs, kubernetes_objects
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_removal import RUNNING
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.site_state import with_standing

_EVERY_S: Final = 0.4
_EVENTS_EVERY_S: Final = 2.0
_FORGOTTEN_LOOKS: Final = 12
"""A trouble that was away for so many looks has passed; another of its name begins anew."""
_QUIET_S: Final = 2.0
"""Pods that are on their way need no look at events before that."""


def of_step(site: KubernetesSite, step: Step) -> list[Object]:
    """Give the pods of a step, in the order of their names.

    Raises:
        StepFailure: the cluster cannot be asked.
    """
    with asking():
        found = site.cluster.find(POD, site.namespace, site.selection(step))
    return sorted(found, key=_ordinal)


def bring_up(
    site: KubernetesSite,
    step: Step,
    documents: Sequence[Object],
    count: int,
    timeout_s: float,
    stop: threading.Event,
) -> list[Object]:
    """Make these objects those of a step and give their ``count`` pods once all are ready.

    What does not become ready is ended, so that it holds no accelerator that another could use.

    Raises:
        StepFailure: they cannot be made, or do not become ready.
        Stopped: ``stop`` was set meanwhile.
    """
    ready: list[Object] = []
    try:
        kubernetes_objects.put(site, step, documents, stop)
        ready = await_ready(site, step, count, timeout_s, stop)
    finally:
        if not ready:
            kubernetes_objects.give_up(site, step)
    return ready


def await_ready(
    site: KubernetesSite, step: Step, count: int, timeout_s: float, stop: threading.Event
) -> list[Object]:
    """Wait until ``count`` pods of a step are ready, put them on the site's record, give them.

    Raises:
        StepFailure: one of them, or their owner, is in trouble that waiting does not mend; or
            they are not ready in time. Its log is the container's.
        Stopped: ``stop`` was set meanwhile.
    """
    waiting = Waiting(site, step, count)
    deadline = time.monotonic() + timeout_s
    while True:
        if stop.is_set():
            raise Stopped("stopped while waiting for pods")
        found = of_step(site, step)
        if len(found) == count and all(map(pods.is_ready, found)):
            site.record(with_standing(step, found))
            return found
        waiting.look(found)
        if time.monotonic() > deadline:
            raise _late(site, step, found, count, timeout_s)
        stop.wait(_EVERY_S)


@dataclass(slots=True)
class Waiting:
    """What was seen of the pods of a step so far."""

    site: KubernetesSite
    step: Step
    count: int
    began: float = field(default_factory=time.monotonic)
    looks: int = 0
    seen: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    told: str = ""
    events_at: float = 0.0
    from_events: list[Trouble] = field(default_factory=list)
    growing: bool = False

    def look(self, found: Sequence[Object]) -> None:
        """Raise StepFailure for a trouble that has lasted longer than it may; tell progress."""
        now = time.monotonic()
        self.looks += 1
        words = progress(found, self.count)
        if words != self.told:
            self.told = words
            self.site.said(f"{self.step}: {words}")
        told = [each for each in map(pods.trouble, found) if each is not None]
        if now - self.began > _QUIET_S and now - self.events_at > _EVENTS_EVERY_S:
            self.events_at = now
            self._read_events(found)
        for each in [*told, *self.from_events]:
            if self._lasts_s(each, now) >= each.patience_s and not (
                each.reason == "Unschedulable" and self.growing
            ):
                raise _failure(self.site, each)

    def _lasts_s(self, each: Trouble, now: float) -> float:
        """Give for how long a trouble has been seen, without a pause to speak of."""
        first, last = self.seen.get((each.about, each.reason), (now, self.looks))
        if self.looks - last > _FORGOTTEN_LOOKS:
            first = now
        self.seen[each.about, each.reason] = first, self.looks
        return now - first

    def _read_events(self, found: Sequence[Object]) -> None:
        """Learn what only events tell: about those that get no pods, and pods that do not start."""
        stuck = [pod for pod in found if not pods.is_ready(pod) and not _runs(pod)]
        lacks = len(found) < self.count
        if not (stuck or lacks):  # they run, so no event can tell more than their status
            self.from_events = []
            return
        with asking():
            owners = _owners(self.site, self.step)
            events = self.site.cluster.find(EVENT, self.site.namespace)
        uids = {each["metadata"]["uid"] for each in [*stuck, *owners]}
        names = {claim for pod in stuck for claim in _claims(pod)}
        ours = [
            event
            for event in events
            if event["involvedObject"].get("uid") in uids
            or (
                event["involvedObject"]["kind"] == "PersistentVolumeClaim"
                and event["involvedObject"]["name"] in names
            )
        ]
        troubles = pod_events.troubles(ours)
        self.from_events = [
            each for each in troubles if lacks or each.reason not in {"FailedCreate", "Quota"}
        ]
        if lacks:
            self.from_events += _refusals(owners)
        self.growing = any(map(pod_events.grows, ours))


def progress(found: Sequence[Object], count: int) -> str:
    """Say how many pods are ready, and what the others are doing."""
    ready = sum(map(pods.is_ready, found))
    doing = Counter(pods.state(pod) for pod in found if not pods.is_ready(pod))
    if missing := max(count - len(found), 0):
        doing["not made yet"] = missing
    others = ", ".join(f"{number} {what}" for what, number in doing.most_common())
    return f"{ready} of {count} pods ready" + (f"; {others}" if others else "")


def _failure(site: KubernetesSite, each: Trouble) -> StepFailure:
    log = ""
    if each.container:
        pod = each.about.removeprefix("pod ")
        log = _last_log(site, pod, each)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    told = f"{each.about}: {each.message}" + (f"; its last line: {last}" if last else "")
    return StepFailure(f"{told}.", each.failure, log=log)


def _last_log(site: KubernetesSite, pod: str, each: Trouble) -> str:
    try:
        # Between two lives either may be the one that is kept.
        return tail(
            site.cluster, pod, site.namespace, container=each.container, previous=each.previous
        ) or tail(site.cluster, pod, site.namespace, container=each.container)
    except ClusterFault:
        return ""


def _late(
    site: KubernetesSite, step: Step, found: Sequence[Object], count: int, timeout_s: float
) -> StepFailure:
    waiting = [pod for pod in found if not pods.is_ready(pod)]
    texts = [kubernetes_logs.of_pod(site, pod) for pod in waiting[:1]]
    return StepFailure(
        f"the pods of step {step} were not ready within {timeout_s:g} s: {progress(found, count)}.",
        FailureClass.SERVER,
        log="".join(texts),
    )


def _owners(site: KubernetesSite, step: Step) -> list[Object]:
    """Give what makes the pods of a step."""
    applied = {(each.api_version, each.kind) for each in site.state().applied(step)}
    kinds = [kind for kind in RUNNING if (kind.api_version, kind.name) in applied]
    selection = site.selection(step)
    return [each for kind in kinds for each in site.cluster.find(kind, site.namespace, selection)]


def _refusals(owners: Iterable[Object]) -> list[Trouble]:
    """Tell what a Deployment says about pods that are refused; others say it in events only."""
    return [
        pod_events.refused(f"Deployment {owner['metadata']['name']}", str(each.get("message", "")))
        for owner in owners
        if owner["kind"] == DEPLOYMENT.name
        for each in owner.get("status", {}).get("conditions") or ()
        if each["type"] == "ReplicaFailure" and each["status"] == "True"
    ]


def _claims(pod: Object) -> list[str]:
    volumes = pod.get("spec", {}).get("volumes") or ()
    claims = (each.get("persistentVolumeClaim") for each in volumes)
    return [claim["claimName"] for claim in claims if claim]


def _runs(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return any("running" in status.get("state", {}) for status in statuses)


def _ordinal(pod: Object) -> tuple[str, int]:
    name, _, number = pod["metadata"]["name"].rpartition("-")
    return (name, int(number)) if number.isdecimal() else (pod["metadata"]["name"], 0)
