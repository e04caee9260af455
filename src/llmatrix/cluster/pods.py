"""What is wrong with a pod, told from its status as soon as the status tells it.

Pure functions of pods and events as the API gives them; the reasons are those that kubelet,
scheduler and controllers write (Kubernetes, "Pod Lifecycle", "Images", "Kubernetes Scheduler").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from llmatrix.cluster.kinds import Object
from llmatrix.errors import FailureClass

SETTLES_S: Final = 15.0
"""What passes by itself has passed by then: a claim is bound, a neighbour's pod has gone."""
_PULL_AGAIN_S: Final = 12.0
"""The kubelet pulls again after 10 s; a registry that hiccuped answers then."""
_PULLING: Final = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_NO_SUCH_IMAGE: Final = re.compile(
    r"not found|manifest unknown|does not exist|denied|unauthorized|invalid reference"
    r"|no match for platform",
    re.IGNORECASE,
)
_NO_SUCH_REGISTRY: Final = "no such host"
_NO_SUCH_PROGRAM: Final = re.compile(
    r"no such file or directory|executable file not found|permission denied", re.IGNORECASE
)
_INSUFFICIENT: Final = re.compile(r"Insufficient ([A-Za-z0-9./_-]*[A-Za-z0-9])")
_NODES: Final = re.compile(r"0/(\d+) nodes are available")
_PREEMPTION: Final = re.compile(r"(?: no new claims to deallocate,)? preemption:.*", re.DOTALL)
_HOPELESS: Final = re.compile(r"(\d+) Preemption is not helpful")
_BACK_OFF: Final = re.compile(r'^Back-off pulling image "[^"]*": \w+: ')


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod is not ready, and will not be.

    Attributes:
        about: the pod, or the object that should make pods, in words.
        reason: as Kubernetes names it.
        message: one sentence about it, without a full stop.
        failure: what may mend it.
        patience_s: for how long it may yet pass by itself.
        container: whose log explains it, or "".
        previous: whether the log is that of the container's former life.
    """

    about: str
    reason: str
    message: str
    failure: FailureClass
    patience_s: float = 0.0
    container: str = ""
    previous: bool = False


def is_ready(pod: Object) -> bool:
    """Tell whether a pod is ready and not on its way out."""
    return "deletionTimestamp" not in pod["metadata"] and _condition(pod, "Ready") == "True"


def restarts(pod: Object) -> int:
    """Count how often containers of a pod were started again."""
    return sum(int(status.get("restartCount", 0)) for status, _ in _statuses(pod))


def state(pod: Object) -> str:
    """Say in a few words what a pod is doing."""
    if "deletionTimestamp" in pod["metadata"]:
        return "ending"
    if is_ready(pod):
        return "ready"
    states = [status.get("state", {}) for status, _ in _statuses(pod)]
    held = [each["waiting"].get("reason", "waiting") for each in states if "waiting" in each]
    ended = [each["terminated"] for each in states if "terminated" in each]
    held += [each.get("reason", "ended") for each in ended if each.get("exitCode")]
    if held:
        return str(held[0])
    if _condition(pod, "PodScheduled") != "True":
        return "waiting for a node"
    running = any("running" in each for each in states)
    return "running, not ready yet" if running else "starting"


def trouble(pod: Object) -> Trouble | None:
    """Give what keeps a pod from becoming ready, or None while it may simply be on its way."""
    about = f"pod {pod['metadata']['name']}"
    if (lost := _lost(pod, about)) is not None:
        return lost
    for status, once in _statuses(pod):
        found = _waiting(pod, status, about) or _ended(status, about, once=once)
        if found is not None:
            return found
    return _unscheduled(pod, about)


def sentence(text: str) -> str:
    """Give a message as one line, without its full stop, and not longer than a reader reads."""
    line = " ".join(text.split()).rstrip(".")
    longest = 600
    return line if len(line) <= longest else f"{line[:longest]}…"


def _statuses(pod: Object) -> Iterator[tuple[Object, bool]]:
    """Give the status of each container, and whether it is one that is to end well."""
    status, spec = pod.get("status", {}), pod.get("spec", {})
    sidecars = {
        each["name"]
        for each in spec.get("initContainers") or ()
        if each.get("restartPolicy") == "Always"
    }
    for each in status.get("initContainerStatuses") or ():
        yield each, each["name"] not in sidecars
    for each in status.get("containerStatuses") or ():
        yield each, spec.get("restartPolicy", "Always") != "Always"


def _condition(pod: Object, kind: str) -> str:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")


def _lost(pod: Object, about: str) -> Trouble | None:
    """Tell of a pod that its node or the control plane took away."""
    status = pod.get("status", {})
    reason = str(status.get("reason", ""))
    if status.get("phase") != "Failed" or not reason:
        return None
    told = sentence(str(status.get("message", ""))) or "no more is told"
    return Trouble(about, reason, f"it was taken away: {told}", FailureClass.ENVIRONMENT)


def _waiting(pod: Object, status: Object, about: str) -> Trouble | None:
    waiting = status.get("state", {}).get("waiting")
    if not waiting:
        return None
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    image = f"image '{status.get('image') or _image(pod, status['name'])}'"
    why = sentence(_BACK_OFF.sub("", message)) or "no more is told"
    if reason in _PULLING:
        absent = bool(_NO_SUCH_IMAGE.search(message))
        user = absent or _NO_SUCH_REGISTRY in message
        patience_s = 0.0 if absent else _PULL_AGAIN_S
        told = f"{image} cannot be pulled: {why}"
        # One reason for all: a back-off comes and goes between two tries to pull.
        return Trouble(about, "ErrImagePull", told, _blame(user=user), patience_s)
    found = None
    if reason == "InvalidImageName":
        found = Trouble(about, reason, f"{image} has no valid name: {why}", FailureClass.USER)
    elif reason == "ErrImageNeverPull":
        told = f"{image} is not on its node and must not be pulled there"
        found = Trouble(about, reason, told, FailureClass.USER)
    elif reason == "CreateContainerConfigError":
        missing = "not found" in message or "find key" in message
        told = f"container {status['name']} cannot be made: {why}"
        patience_s = 3.0 if missing else SETTLES_S
        found = Trouble(about, reason, told, _blame(user=missing), patience_s)
    elif reason in {"CreateContainerError", "RunContainerError"}:
        found = _not_run(about, status["name"], reason, why)
    return found


def _not_run(about: str, container: str, reason: str, why: str) -> Trouble:
    nothing = bool(_NO_SUCH_PROGRAM.search(why))
    failure = FailureClass.USER if nothing else FailureClass.ENVIRONMENT
    told = f"container {container} cannot be started: {why}"
    return Trouble(about, reason, told, failure, 0.0 if nothing else SETTLES_S)


def _ended(status: Object, about: str, *, once: bool) -> Trouble | None:
    """Tell of a container that ended though it should run, or ended badly."""
    now, name = status.get("state", {}).get("terminated"), status["name"]
    before = status.get("lastState", {}).get("terminated")
    last = now or before
    if not last or (once and last.get("exitCode") == 0):
        return None
    code, reason = last.get("exitCode"), str(last.get("reason", "Error"))
    if reason in {"StartError", "ContainerCannotRun"}:
        return _not_run(about, name, reason, sentence(str(last.get("message", ""))))
    if reason == "OOMKilled":
        told = f"container {name} was killed for using more memory than it may (OOMKilled)"
    else:
        signal = int(last.get("signal") or 0)
        how = f"by signal {signal}" if signal else f"with exit status {code}"
        told = f"container {name} ended {how} ({reason})"
    return Trouble(about, reason, told, FailureClass.SERVER, container=name, previous=now is None)


def _unscheduled(pod: Object, about: str) -> Trouble | None:
    conditions = pod.get("status", {}).get("conditions") or ()
    found = next(
        (
            each
            for each in conditions
            if each["type"] == "PodScheduled" and each["status"] != "True"
        ),
        None,
    )
    if found is None or found.get("reason") != "Unschedulable":
        return None
    message = str(found.get("message", ""))
    said = sentence(_PREEMPTION.sub("", message))
    if "PersistentVolumeClaim" in message or "persistentvolumeclaim" in message:
        told = f"a volume that it needs is not there: {said}"
        return Trouble(about, "UnboundClaim", told, FailureClass.ENVIRONMENT, SETTLES_S)
    short = sorted(set(_INSUFFICIENT.findall(message)))
    asks = ", ".join(f"{name} {_asked(pod, name)}" for name in short)
    nodes, hopeless = _NODES.search(message), _HOPELESS.search(message)
    never = nodes is not None and hopeless is not None and hopeless[1] == nodes[1]
    failure = FailureClass.USER if never else FailureClass.ENVIRONMENT
    told = "it fits on no node" if never else "no node has room for it now"
    told += f": it asks for {asks}; {said}" if asks else f": {said}"
    return Trouble(about, "Unschedulable", told, failure, SETTLES_S)


def _asked(pod: Object, resource: str) -> str:
    """Give what the containers of a pod ask for of a resource, as they write it."""
    containers = pod.get("spec", {}).get("containers") or ()
    requests = (each.get("resources", {}).get("requests", {}).get(resource) for each in containers)
    return " + ".join(str(each) for each in requests if each is not None) or "?"


def _image(pod: Object, container: str) -> str:
    spec = pod.get("spec", {})
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return next((str(each["image"]) for each in every if each["name"] == container), "?")


def _blame(*, user: bool) -> FailureClass:
    return FailureClass.USER if user else FailureClass.ENVIRONMENT
