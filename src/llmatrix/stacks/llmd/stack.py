"""The stack of kind llm-d on a Kubernetes site: layers brought up, and seen to work together."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import ClassVar, Final

from llmatrix.cluster.kinds import SERVICE
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.sim import BEHAVIOUR
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks import (
    kubernetes_logs,
    kubernetes_objects,
    kubernetes_pods,
    kubernetes_standing,
    serving,
)
from llmatrix.stacks.http import Unreachable, answers
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_site import KubernetesSite, on_kubernetes
from llmatrix.stacks.llmd import (
    checks,
    data_plane,
    gateway_api,
    layers,
    model,
    names,
    roles,
    router,
)
from llmatrix.stacks.llmd.checks import section
from llmatrix.stacks.llmd.memory import Memory, Met, why_anew
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.site import Site
from llmatrix.stacks.waiting import until
from llmatrix.target import Target

_STARTUP_S: Final = 300.0
"""Seconds for the image of Envoy or of a picker to be pulled, and for either to start."""
_TOGETHER_S: Final = 60.0
"""Seconds until picker and proxy have found what has just been started."""
_EVERY_S: Final = 0.3


class Llmd:
    """Implements ``protocol.Stack``: each layer is made by its module, and is a step of its own."""

    kind: ClassVar[str] = "llm-d"
    version: ClassVar[str] = f"2+{BEHAVIOUR}"

    def check(self, treatment: Treatment) -> None:
        checks.check(treatment)

    def preflight(self, treatment: Treatment) -> None:
        self.check(treatment)

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        here = on_kubernetes(site)
        if step is Step.NAMESPACE:
            return here.stands()
        if step is Step.GATEWAY and _has_gateway(trial):
            layer = section(trial.treatment).gateway
            return not gateway_api.wrong(here, layer, pooled=False)
        if step is Step.MODEL:
            return model.stands(trial.treatment, here)
        if step not in _running(trial):
            return True
        if kubernetes_standing.changed(here, here.state(), step):
            return False
        return step is not Step.ROUTER or _picker_answers(here)

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        here = on_kubernetes(site)
        if step is Step.NAMESPACE:
            here.prepare(stop)
            here.allow(self.kind)
        elif step is Step.MODEL:
            model.apply(trial.treatment, here, stop)
        elif step is Step.GATEWAY and _has_gateway(trial):
            gateway_api.bring_up(here, section(trial.treatment).gateway, stop)
        elif step in _running(trial):
            _apply(step, trial, here, stop)
        else:
            kubernetes_objects.put(here, step, (), stop)

    def target(self, trial: Trial, site: Site) -> Target:
        here, stack = on_kubernetes(site), section(trial.treatment)
        if gone := _gone(trial, here):
            raise StepFailure(
                f"the stack no longer runs as it was started: {gone}.",
                FailureClass.SERVER,
                log="\n".join(_logs(here, _running(trial)).values()),
            )
        url, model = _front(trial, here), trial.treatment.model.name
        try:
            wrong = serving.wrong_model(url, model, serving.served_models(url))
        except (Unreachable, serving.NotServing) as error:
            raise StepFailure(str(error), FailureClass.SERVER) from error
        if wrong:
            raise StepFailure(wrong, FailureClass.SERVER)
        picker = _service(here, names.picker(here.address), names.PICKER_METRICS)
        servers = _servers(trial, here)
        return Target(
            base_url=url,
            model=model,
            metrics_urls=tuple(f"{each}/metrics" for each in servers.values()),
            prefill_urls=tuple(
                f"{each}/metrics"
                for pod, each in servers.items()
                if roles.prefills(pod, here.address)
            ),
            router_metrics_url=f"{picker}/metrics" if picker else None,
            simulated=stack.server.simulated,
        )

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        here = on_kubernetes(site)
        if gone := _gone(trial, here):
            return Hygiene(clean=False, detail=f"the stack no longer runs: {gone}")
        told, found = [], []
        if Step.SERVER in changed:
            told.append("the servers have just been started")
        else:
            found = [serving.reset_prefix_cache(url) for url in _servers(trial, here).values()]
            told.append(f"{len(found)} of {len(found)} servers say that their prefix cache was "
                        f"dropped")  # fmt: skip
        dirty = [each for each in found if each.clean is not True]
        if dirty:
            clean = False if any(each.clean is False for each in dirty) else None
            return Hygiene(clean=clean, detail="; ".join(each.detail for each in dirty))
        if Step.ROUTER in _running(trial):
            told.append(_unbiased(trial, here, changed))
        return Hygiene(clean=True, detail="; ".join(told))

    def restarts(self, trial: Trial, site: Site) -> int:
        return kubernetes_standing.restarts(on_kubernetes(site), _running(trial))

    def endings(self, trial: Trial, site: Site) -> list[str]:
        return kubernetes_standing.endings(on_kubernetes(site), _running(trial))

    def logs(self, site: Site) -> dict[str, str]:
        return _logs(on_kubernetes(site), (Step.GATEWAY, Step.ROUTER, Step.SERVER))

    def remove(self, site: Site) -> list[str]:
        here = on_kubernetes(site)
        had_gateway = gateway_api.stands(here)
        left = here.remove()
        if had_gateway and not left:
            return gateway_api.await_gone(here, threading.Event())
        return left


def _unbiased(trial: Trial, site: KubernetesSite, changed: AbstractSet[Step]) -> str:
    """See that nothing the picker remembers bears on a trial; say why in words."""
    memory = layers.memory(section(trial.treatment), layers.on(site))
    if memory is Memory.NOTHING:
        return "the picker has no plugin that remembers requests"
    met = Met.of(site.state())
    told = f"the picker has met the prompts of {len(met.prompts)} other trials, not of this one"
    why = why_anew(memory, met, trial, changed)
    if why:
        # A real picker has no way to be told to forget.
        _apply(Step.ROUTER, trial, site, threading.Event())
        met = Met.of(site.state())
    if not met.prompts:
        told = "the picker has just been started" + (f": {why}" if why else "")
    site.record(met.and_also(trial))
    return told


def _has_gateway(trial: Trial) -> bool:
    """Tell whether the gateway's proxy is a controller's and not a pod of ours."""
    return section(trial.treatment).gateway.mode == "gateway"


def _running(trial: Trial) -> tuple[Step, ...]:
    """Give the steps that have pods."""
    modes: dict[str, tuple[Step, ...]] = {
        "none": (Step.SERVER,),
        "standalone": (Step.GATEWAY, Step.ROUTER, Step.SERVER),
        "gateway": (Step.ROUTER, Step.SERVER),
    }
    return modes[section(trial.treatment).gateway.mode]


def _picker_answers(site: KubernetesSite) -> bool:
    url = _service(site, names.picker(site.address), names.PICKER_METRICS)
    return url is not None and answers(f"{url}/metrics")


def _gone(trial: Trial, site: KubernetesSite) -> str:
    state = site.state()
    told = [kubernetes_standing.changed(site, state, step) for step in _running(trial)]
    if _has_gateway(trial):
        told.append(gateway_api.wrong(site, section(trial.treatment).gateway))
    return "; ".join(filter(None, told))


def _apply(step: Step, trial: Trial, site: KubernetesSite, stop: threading.Event) -> None:
    stack = section(trial.treatment)
    made = layers.objects(step, trial.treatment, site.address, layers.on(site))
    count = layers.pods(stack, step, made)
    timeout_s = stack.server.startup if step is Step.SERVER else _STARTUP_S
    try:
        kubernetes_pods.bring_up(site, step, made, count, timeout_s, stop)
    except StepFailure as failure:
        if step is Step.ROUTER and (advice := router.advice(failure.log)):
            raise StepFailure(f"{failure} {advice}", failure.failure, log=failure.log) from None
        raise
    if step is not Step.GATEWAY and site.state().standing(Step.SERVER):
        _await_together(step, trial, site, stop)


def _await_together(step: Step, trial: Trial, site: KubernetesSite, stop: threading.Event) -> None:
    """Wait until a request passes picker and proxy to a server that the picker sees.

    Raises:
        StepFailure: none does; what does not work is named, as far as it shows.
        Stopped: ``stop`` was set meanwhile.
    """
    stack, servers = section(trial.treatment), [*_servers(trial, site).values()]
    picked = Step.ROUTER in _running(trial)
    why = [""]

    def works() -> bool:
        why[0] = _why_not(trial, site, servers, picked=picked)
        return not why[0]

    if not until(works, _TOGETHER_S, stop=stop, every_s=_EVERY_S):
        raise StepFailure(
            f"all pods are ready, but not together within {_TOGETHER_S:g} s: {why[0]}.",
            FailureClass.SERVER,
            log="\n".join(_logs(site, [each for each in _running(trial) if each != step]).values()),
        )
    if picked:
        try:
            lacks = data_plane.blind(servers, layers.reads(stack, layers.on(site)))
        except Unreachable as error:
            raise StepFailure(f"{error}.", FailureClass.SERVER) from error
        if lacks:
            raise StepFailure(
                f"{lacks}; set stack.router.metrics, or the picker's flags.", FailureClass.USER
            )


def _why_not(trial: Trial, site: KubernetesSite, servers: list[str], *, picked: bool) -> str:
    if picked:
        picker = _service(site, names.picker(site.address), names.PICKER_METRICS)
        if picker is None:
            return "the picker's Service is gone"
        if told := data_plane.unseen(picker, len(servers)):
            return told
    if _has_gateway(trial) and (told := gateway_api.wrong(site, section(trial.treatment).gateway)):
        return told
    return data_plane.stuck(_front(trial, site), trial.treatment.model.name)


def _front(trial: Trial, site: KubernetesSite) -> str:
    """Give the base URL that requests are sent to.

    Raises:
        StepFailure: its Service is gone.
    """
    url: str | None
    if _has_gateway(trial):
        url = gateway_api.url(site, section(trial.treatment).gateway)
    elif Step.GATEWAY in _running(trial):
        url = _service(site, names.gateway(site.address), names.PROXY_PORT)
    else:
        url = _service(site, names.server(site.address), names.SERVER_PORT)
    if url is None:
        raise StepFailure("what requests are sent to is gone.", FailureClass.SERVER)
    return url


def _service(site: KubernetesSite, name: str, port: int) -> str | None:
    """Give the base URL of a Service by its address: no name is looked up in a measurement."""
    with asking():
        found = site.cluster.get(SERVICE, name, site.namespace)
    address = "" if found is None else found["spec"].get("clusterIP", "")
    return kubernetes_standing.url(address, port) if address else None


def _servers(trial: Trial, site: KubernetesSite) -> dict[str, str]:
    """Give the base URLs of the servers by the names of their pods."""
    layer = section(trial.treatment).server
    return {
        pod: kubernetes_standing.url(each.ip, names.SERVER_PORT)
        for pod, each in site.state().standing(Step.SERVER).items()
        if roles.answers(layer, pod, site.address)
    }


def _logs(site: KubernetesSite, steps: Iterable[Step]) -> dict[str, str]:
    found = [pod for step in steps for pod in kubernetes_pods.of_step(site, step)]
    return kubernetes_logs.of_pods(site, found)
