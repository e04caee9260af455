"""Simulated servers behind a simulated router, as pods on a Kubernetes site.

The router is told its servers by ``POST /servers``: when they are applied, and when it is. It is
reached by the address of its Service, so that no name is looked up while traffic is measured.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from typing import ClassVar, Final

from llmatrix.cluster.kinds import SERVICE
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.sim import BEHAVIOUR, membership
from llmatrix.sim.filtering import ROLE
from llmatrix.sim.membership import Membership
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks import (
    kubernetes_logs,
    kubernetes_pods,
    kubernetes_standing,
    simulated_objects,
    simulated_options,
    simulated_serving,
)
from llmatrix.stacks.http import Unreachable, answers, ask
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_site import KubernetesSite, on_kubernetes
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.simulated_objects import ROUTER_PORT, SERVER_PORT
from llmatrix.stacks.site import Site
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_state import SiteState
from llmatrix.stacks.waiting import until
from llmatrix.target import Target

_STARTUP_S: Final = 120.0
"""Seconds for a small image to be pulled and a Python program to start on a busy node."""
_DATA_PLANE_S: Final = 20.0
_STEPS: Final = (Step.ROUTER, Step.SERVER)


class SimulatedPods:
    """Implements ``protocol.Stack`` with the programs of ``llmatrix.sim``, a pod for each."""

    kind: ClassVar[str] = "simulated"
    version: ClassVar[str] = BEHAVIOUR

    def check(self, treatment: Treatment) -> None:
        from llmatrix.stacks import simulated_checks  # noqa: PLC0415 - reads in the simulator

        simulated_checks.check(treatment)

    def preflight(self, treatment: Treatment) -> None:
        self.check(treatment)

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        here = on_kubernetes(site)
        if step is Step.NAMESPACE:
            return here.stands()
        state = here.state()
        servers = _servers(state, here.address)
        if step is Step.SERVER:
            # Of a server that crashed on purpose the pod still stands.
            crashes = simulated_options.section(trial.treatment).crashes
            up = not crashes or all(answers(f"{url}/health") for url in servers.urls)
            return up and not kubernetes_standing.changed(here, state, step)
        router = _router_url(here)
        if router is None:
            return False
        return _knows(router, servers) if servers.urls else answers(f"{router}/health")

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        here = on_kubernetes(site)
        if step is Step.NAMESPACE:
            here.prepare(stop)
        elif step is Step.ROUTER:
            _apply_router(trial, here, stop)
        elif step is Step.SERVER:
            _apply_server(trial, here, stop)

    def target(self, trial: Trial, site: Site) -> Target:
        here = on_kubernetes(site)
        state = here.state()
        for step in _STEPS:
            if gone := kubernetes_standing.changed(here, state, step):
                raise StepFailure(
                    f"the simulated {step} no longer runs as it was started: {gone}.",
                    FailureClass.SERVER,
                    log=_log(here, (step,)),
                )
        router = _router_url(here)
        if router is None:
            raise StepFailure("the router's Service is gone.", FailureClass.SERVER)
        return simulated_serving.target(
            router,
            _urls(state),
            trial.treatment.model.name,
            prefills=_prefills(state, here.address),
        )

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        here = on_kubernetes(site)
        state, router = here.state(), _router_url(here)
        gone = [kubernetes_standing.changed(here, state, step) for step in _STEPS]
        if router is None or any(gone):
            told = "; ".join(filter(None, gone)) or "the router's Service is gone"
            return Hygiene(clean=False, detail=f"the simulated stack no longer runs: {told}")
        faults = bool(simulated_options.section(trial.treatment).faults)
        return simulated_serving.cleanse(router, _urls(state), changed, faults=faults)

    def restarts(self, trial: Trial, site: Site) -> int:
        here = on_kubernetes(site)
        return kubernetes_standing.restarts(here, _STEPS) + len(_crashed(trial, here))

    def endings(self, trial: Trial, site: Site) -> list[str]:
        here = on_kubernetes(site)
        return kubernetes_standing.endings(here, _STEPS) + _crashed(trial, here)

    def logs(self, site: Site) -> dict[str, str]:
        return _logs(on_kubernetes(site), _STEPS)

    def remove(self, site: Site) -> list[str]:
        return on_kubernetes(site).remove()


def _apply_router(trial: Trial, site: KubernetesSite, stop: threading.Event) -> None:
    objects = simulated_objects.router(trial.treatment, site.address)
    kubernetes_pods.bring_up(site, Step.ROUTER, objects, 1, _STARTUP_S, stop)
    servers = _servers(site.state(), site.address)
    router = _router_url(site)
    if router is None or not until(
        lambda: _introduced(router, servers), _DATA_PLANE_S, stop=stop, every_s=0.1
    ):
        raise StepFailure(
            f"the router is ready but does not answer at {router or 'its Service'} within "
            f"{_DATA_PLANE_S:g} s.",
            FailureClass.SERVER,
            log=_log(site, (Step.ROUTER,)),
        )


def _apply_server(trial: Trial, site: KubernetesSite, stop: threading.Event) -> None:
    stack = simulated_options.section(trial.treatment)
    objects = simulated_objects.servers(
        trial.treatment, site.address, seed=simulated_options.seed(trial)
    )
    count, timeout_s = stack.replicas + stack.prefill_replicas, _STARTUP_S + stack.engine.startup
    kubernetes_pods.bring_up(site, Step.SERVER, objects, count, timeout_s, stop)
    servers, model = _servers(site.state(), site.address), trial.treatment.model.name
    router = _router_url(site)
    if router is None:
        return

    def passes() -> bool:
        return _introduced(router, servers) and simulated_serving.passes(router, model)

    if not until(passes, _DATA_PLANE_S, stop=stop, every_s=0.1):
        raise StepFailure(
            f"the servers are ready but the router does not pass requests for '{model}' to them.",
            FailureClass.SERVER,
            log=_log(site, (Step.ROUTER,)),
        )


def _router_url(site: KubernetesSite) -> str | None:
    """Give the router's base URL; None where its Service is not there."""
    with asking():
        found = site.cluster.get(SERVICE, site.address.object_name("router"), site.namespace)
    address = "" if found is None else found["spec"].get("clusterIP", "")
    return kubernetes_standing.url(address, ROUTER_PORT) if address else None


def _urls(state: SiteState) -> list[str]:
    return list(_by_pod(state).values())


def _prefills(state: SiteState, address: SiteAddress) -> list[str]:
    """Give those of the servers that prefill only."""
    return [url for pod, url in _by_pod(state).items() if simulated_objects.prefills(pod, address)]


def _by_pod(state: SiteState) -> dict[str, str]:
    stood = state.standing(Step.SERVER)
    return {pod: kubernetes_standing.url(each.ip, SERVER_PORT) for pod, each in stood.items()}


def _servers(state: SiteState, address: SiteAddress) -> Membership:
    """Give the servers as the router knows them: by their roles, where there are two."""
    urls, prefills = _urls(state), _prefills(state, address)
    roles = {url: "prefill" if url in prefills else "decode" for url in urls if prefills}
    return Membership(tuple(urls), {url: {ROLE: role} for url, role in roles.items()})


def _crashed(trial: Trial, site: KubernetesSite) -> list[str]:
    """Say which servers crashed on purpose; of others, pods tell."""
    if not simulated_options.section(trial.treatment).crashes:
        return []
    return simulated_serving.crashed(_urls(site.state()))


def _introduced(router: str, servers: Membership) -> bool:
    """Tell the router its servers, and whether it took them."""
    told = servers.document()
    try:
        answer = ask("POST", f"{router}/servers", document=told, timeout_s=2.0)
    except Unreachable:
        return False
    return answer.status == HTTPStatus.OK and answer.json() == told


def _knows(router: str, servers: Membership) -> bool:
    """Tell whether the router answers, and has these servers."""
    try:
        document = ask("GET", f"{router}/servers", timeout_s=2.0).json()
        known = membership.of_document(document if isinstance(document, dict) else {})
    except (Unreachable, membership.NotAList):
        return False
    return set(known.urls) == set(servers.urls) and known.labels == servers.labels


def _logs(site: KubernetesSite, steps: Iterable[Step]) -> dict[str, str]:
    found = [pod for step in steps for pod in kubernetes_pods.of_step(site, step)]
    return kubernetes_logs.of_pods(site, found)


def _log(site: KubernetesSite, steps: Iterable[Step]) -> str:
    return "\n".join(_logs(site, steps).values())
