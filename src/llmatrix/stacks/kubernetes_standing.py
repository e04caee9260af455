"""The pods of a step that was ready once: whether they still stand, and what has ended since."""

from __future__ import annotations

from collections.abc import Iterable

from llmatrix.cluster import pod_events, pods
from llmatrix.cluster.kinds import EVENT, Object
from llmatrix.plan.step import Step
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_pods import of_step
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.site_state import SiteState, Stood


def changed(site: KubernetesSite, state: SiteState, step: Step) -> str:
    """Say which pod of a step is not as it stood when the step was ready; "" if all are."""
    stood = state.standing(step)
    if not stood:
        return f"no pods of step {step} stand"
    found = {pod["metadata"]["name"]: pod for pod in of_step(site, step)}
    for name, before in stood.items():
        pod = found.pop(name, None)
        if pod is None or pod["metadata"]["uid"] != before.uid:
            return f"pod {name} is gone"
        if pods.restarts(pod) != before.restarts:
            return f"a container of pod {name} was started again"
        if not pods.is_ready(pod):
            return f"pod {name} is not ready ({pods.state(pod)})"
    return f"pod {next(iter(found))} is new" if found else ""


def restarts(site: KubernetesSite, steps: Iterable[Step]) -> int:
    """Count pods that went, and containers that were started again, since their step was ready."""
    state, ended = site.state(), 0
    for step in steps:
        stood = state.standing(step)
        if not stood:
            continue
        found = {pod["metadata"]["uid"]: pod for pod in of_step(site, step)}
        for before in stood.values():
            pod = found.get(before.uid)
            ended += 1 if pod is None else max(_ended(pod) - before.restarts, 0)
    return ended


def endings(site: KubernetesSite, steps: Iterable[Step]) -> list[str]:
    """Say how what has ended since its step was ready did so: killed for memory, evicted."""
    state, told = site.state(), []
    with asking():
        events = site.cluster.find(EVENT, site.namespace)
    for step in steps:
        found = {pod["metadata"]["uid"]: pod for pod in of_step(site, step)}
        for name, before in state.standing(step).items():
            told.append(ending(name, before, found.get(before.uid), events))
    return list(filter(None, told))


def ending(name: str, before: Stood, pod: Object | None, events: Iterable[Object]) -> str:
    """Say how a pod, or a container of it, ended since it stood; "" if none did."""
    if pod is None:
        ours = (each for each in events if each["involvedObject"].get("uid") == before.uid)
        told = next(filter(None, map(pod_events.taken_away, ours)), "")
        return f"pod {name} is gone" + (f": {told}" if told else "")
    if _ended(pod) <= before.restarts:
        return ""
    trouble = pods.trouble(pod)
    if trouble is None:
        return f"a container of pod {name} was started again"
    return f"{trouble.about}: {trouble.message}"


def url(ip: str, port: int) -> str:
    """Give the base URL of an address; one of IPv6 stands in brackets."""
    return f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"


def _ended(pod: Object) -> int:
    """Count the ends of a pod's containers: those that were started again, and those that lie."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    lying = sum("running" not in status.get("state", {}) for status in statuses)
    return pods.restarts(pod) + lying
