"""A Job of a step, waited for until its pod has ended, and what that said of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import JOB, Object
from llmatrix.cluster.logs import tail
from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_logs, kubernetes_objects
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_pods import Waiting, of_step
from llmatrix.stacks.kubernetes_site import KubernetesSite

_EVERY_S: Final = 0.4
_LOG_EVERY_S: Final = 2.0
_LAST_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """How the pod of a Job ended.

    Attributes:
        code: exit status of its container.
        message: what it left at /dev/termination-log.
        log: the end of its log.
    """

    code: int
    message: str
    log: str


def run(
    site: KubernetesSite,
    step: Step,
    documents: Sequence[Object],
    timeout_s: float,
    stop: threading.Event,
    *,
    hear: Callable[[str], None],
) -> Ended:
    """Make these objects, one of them a Job of one pod, those of a step; wait for its end.

    Whatever comes of it, the objects are removed, so that what the Job was given goes with it.

    Args:
        site: where.
        step: whose objects.
        documents: of them.
        timeout_s: seconds that it may take.
        stop: ends the wait, and the Job, when it is set.
        hear: is given the last lines of its log while it runs.

    Raises:
        StepFailure: the pod does not start, is lost, or takes too long; or what it ended with is
            told by Kubernetes only (killed for its memory).
        Stopped: ``stop`` was set meanwhile.
    """
    try:
        kubernetes_objects.put(site, step, documents, stop)
        ended = _await(site, step, timeout_s, stop, hear)
    except BaseException:
        with contextlib.suppress(StepFailure):
            kubernetes_objects.put(site, step, (), threading.Event())
        raise
    kubernetes_objects.put(site, step, (), stop)
    return ended


def _await(
    site: KubernetesSite,
    step: Step,
    timeout_s: float,
    stop: threading.Event,
    hear: Callable[[str], None],
) -> Ended:
    waiting, deadline, heard_at = Waiting(site, step, 1), time.monotonic() + timeout_s, 0.0
    while True:
        if stop.is_set():
            raise Stopped("stopped while waiting for a Job")
        found = of_step(site, step)
        for pod in found:
            if (ended := _ended(site, pod)) is not None:
                return ended
        if not found:
            _look_at_job(site, step)
        waiting.look(found)
        now = time.monotonic()
        if found and now - heard_at > _LOG_EVERY_S:
            heard_at = now
            hear(_last_lines(site, found[0]))
        if now > deadline:
            raise StepFailure(
                f"the Job of step {step} did not end within {timeout_s:g} s.",
                FailureClass.ENVIRONMENT,
                log=kubernetes_logs.of_pod(site, found[0]) if found else "",
            )
        stop.wait(_EVERY_S)


def _ended(site: KubernetesSite, pod: Object) -> Ended | None:
    """Tell how a pod's container ended; None where it has not, or Kubernetes knows better why."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        over = status.get("state", {}).get("terminated")
        if over and (over.get("exitCode") == 0 or over.get("message")):
            log = kubernetes_logs.of_pod(site, pod)
            return Ended(int(over["exitCode"]), str(over.get("message", "")), log)
    return None


def _look_at_job(site: KubernetesSite, step: Step) -> None:
    """Raise StepFailure for a Job whose pod was taken away: it makes no other."""
    with asking():
        jobs = site.cluster.find(JOB, site.namespace, site.selection(step))
    for job in jobs:
        for each in job.get("status", {}).get("conditions") or ():
            if each["type"] == "Failed" and each["status"] == "True":
                raise StepFailure(
                    f"the pod of Job {job['metadata']['name']} is gone: "
                    f"{each.get('message') or each.get('reason')}.",
                    FailureClass.ENVIRONMENT,
                )


def _last_lines(site: KubernetesSite, pod: Object) -> str:
    with contextlib.suppress(ClusterFault):
        return tail(site.cluster, pod["metadata"]["name"], site.namespace, most=_LAST_LINES)
    return ""
