"""What only events tell about pods: that they are refused, or wait for a volume or for a node.

(Reasons as the controllers, the kubelet, the cluster autoscaler and Karpenter write them.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from llmatrix.cluster.kinds import Object
from llmatrix.cluster.pods import SETTLES_S, Trouble, sentence
from llmatrix.errors import FailureClass

_MISSING: Final = re.compile(r'(secret|configmap) "[^"]+" not found', re.IGNORECASE)
_FURTHER: Final = {"SuccessfulAttachVolume", "Pulling", "Pulled", "Created", "Started"}
"""Reasons of events that say that a pod's volumes are there."""
_QUOTA: Final = "exceeded quota"


def event_trouble(event: Object) -> Trouble | None:
    """Give what an event tells about an object that gets no pod, or a pod that does not start."""
    subject, reason = event["involvedObject"], str(event.get("reason", ""))
    message = sentence(str(event.get("message", "")))
    kind = "pod" if subject["kind"] == "Pod" else subject["kind"]
    about = f"{kind} {subject['name']}"
    if reason == "FailedCreate":
        return refused(about, message)
    if reason == "FailedMount":
        user = bool(_MISSING.search(message))
        told = f"a volume cannot be mounted: {message}"
        return Trouble(about, reason, told, _blame(user=user), 5.0 if user else 2 * SETTLES_S)
    if reason in {"FailedAttachVolume", "FailedCreatePodSandBox"}:
        told = f"it cannot be started on its node: {message}"
        return Trouble(about, reason, told, FailureClass.ENVIRONMENT, 2 * SETTLES_S)
    if reason in {"ProvisioningFailed", "FailedBinding"} and "waiting for" not in message.lower():
        user = "not found" in message or "no storage class" in message
        return Trouble(about, reason, f"no volume can be made: {message}", _blame(user=user), 5.0)
    return None


def refused(about: str, message: str) -> Trouble:
    """Tell why pods of an object (a StatefulSet, a ReplicaSet) are refused when they are made."""
    told = f"its pods are refused: {message}"
    if _QUOTA in message:
        return Trouble(about, "Quota", told, _blame(user=_over_quota_alone(message)), 5.0)
    passing = "serviceaccount" in message.lower() or "timeout" in message.lower()
    patience_s = SETTLES_S if passing else 0.0
    return Trouble(about, "FailedCreate", told, _blame(user=not passing), patience_s)


def troubles(events: Iterable[Object]) -> list[Trouble]:
    """Give what the events of some objects tell, without what has passed since.

    An event stays for an hour, whatever became of it: it counts as long as its object has not got
    further than what failed.
    """
    newest: dict[str, str] = {}
    every = list(events)
    for event in every:
        if event.get("reason") in _FURTHER:
            uid = str(event["involvedObject"].get("uid"))
            newest[uid] = max(newest.get(uid, ""), _time(event))
    told = [
        event_trouble(event)
        for event in every
        if _time(event) >= newest.get(str(event["involvedObject"].get("uid")), "")
    ]
    return [each for each in told if each is not None]


def taken_away(event: Object) -> str:
    """Say that an event tells of a pod's eviction or preemption, and why; "" if it does not.

    (Reasons of the kubelet, the scheduler, the taint manager and the eviction API's callers.)
    """
    reason = str(event.get("reason", ""))
    if reason not in {"Evicted", "Preempted", "Preempting", "TaintManagerEviction", "NodeNotReady"}:
        return ""
    return f"{sentence(str(event.get('message', ''))) or 'no more is told'} ({reason})"


def grows(event: Object) -> bool:
    """Tell whether an event says that the cluster is getting a node for its pod."""
    return event.get("reason") in {"TriggeredScaleUp", "Nominated"}


def _time(event: Object) -> str:
    """Give when an event was last seen, to the second, in an order of texts."""
    series = event.get("series") or {}
    seen = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or "")[:19]


def _over_quota_alone(message: str) -> bool:
    """Tell whether one pod alone asks for more than the whole quota: it never will be let in."""
    parts = dict(re.findall(r"(requested|limited): ([^:]*?)(?=, (?:used|limited):|$)", message))
    asked, limit = _amounts(parts.get("requested", "")), _amounts(parts.get("limited", ""))
    return any(amount > limit[name] for name, amount in asked.items() if name in limit)


_SCALES: Final = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY: Final = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}


def _amounts(text: str) -> dict[str, float]:
    found = re.findall(r"([A-Za-z0-9./_-]+)=(\d+(?:\.\d+)?)([A-Za-z]{0,2})", text)
    scales = _SCALES | _BINARY
    return {name: float(figure) * scales.get(unit, 1.0) for name, figure, unit in found}


def _blame(*, user: bool) -> FailureClass:
    return FailureClass.USER if user else FailureClass.ENVIRONMENT
