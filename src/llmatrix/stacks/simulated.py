"""Simulated servers behind a simulated router, as child processes of this machine."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, ClassVar, Final

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.sim import BEHAVIOUR
from llmatrix.sim.filtering import ROLE
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks import processes, simulated_options, simulated_serving, startup
from llmatrix.stacks.http import answers
from llmatrix.stacks.processes import Identity
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.site import Site
from llmatrix.stacks.waiting import until
from llmatrix.target import Target

_STARTUP_S: Final = 60.0
"""Seconds for a Python program to start on a busy machine, besides the simulated start."""
_DATA_PLANE_S: Final = 15.0
_NAMES: Final = {Step.ROUTER: "router", Step.SERVER: "server"}


class Simulated:
    """Implements ``protocol.Stack`` with the programs of ``llmatrix.sim``."""

    kind: ClassVar[str] = "simulated"
    version: ClassVar[str] = BEHAVIOUR

    def check(self, treatment: Treatment) -> None:
        from llmatrix.stacks import simulated_checks  # noqa: PLC0415 - reads in the simulator

        simulated_checks.check(treatment)

    def preflight(self, treatment: Treatment) -> None:
        self.check(treatment)

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        del trial
        if step is Step.NAMESPACE:
            return site.folder.is_dir()
        announced = _announced(site.folder, _NAMES[step])
        if announced is None:
            return False
        urls = announced["servers"] if step is Step.SERVER else [announced["router"]]
        return all(answers(f"{url}/health") for url in urls)

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        with startup.writing(site.folder):
            if step is Step.NAMESPACE:
                site.folder.mkdir(parents=True, exist_ok=True)
            elif step is Step.ROUTER:
                _apply_router(trial, site.folder, stop)
            elif step is Step.SERVER:
                _apply_server(trial, site.folder, stop)

    def target(self, trial: Trial, site: Site) -> Target:
        router = _announced(site.folder, "router")
        servers = _announced(site.folder, "server")
        if router is None or servers is None:
            gone = "router" if router is None else "server"
            raise StepFailure(
                f"the simulated {gone} no longer runs",
                FailureClass.SERVER,
                log=processes.log_tail(processes.log_file(site.folder, gone)),
            )
        return simulated_serving.target(
            router["router"],
            servers["servers"],
            trial.treatment.model.name,
            prefills=_prefills(servers),
        )

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        router = _announced(site.folder, "router")
        servers = _announced(site.folder, "server")
        if router is None or servers is None:
            return Hygiene(clean=False, detail="the simulated stack no longer runs")
        return simulated_serving.cleanse(
            router["router"],
            servers["servers"],
            changed,
            faults=bool(simulated_options.section(trial.treatment).faults),
        )

    def restarts(self, trial: Trial, site: Site) -> int:
        return startup.ended(site.folder) + len(self.endings(trial, site))

    def endings(self, trial: Trial, site: Site) -> list[str]:
        servers = _announced(site.folder, "server")
        if servers is None or not simulated_options.section(trial.treatment).crashes:
            return []
        return simulated_serving.crashed(servers["servers"])

    def logs(self, site: Site) -> dict[str, str]:
        return startup.logs(site.folder)

    def remove(self, site: Site) -> list[str]:
        for step in (Step.SERVER, Step.ROUTER, Step.NAMESPACE):
            site.disclaim(step)
        left = processes.end(processes.recorded(site.folder))
        for name in _NAMES.values():
            _announce_file(site.folder, name).unlink(missing_ok=True)
        return left


def _apply_router(trial: Trial, folder: Path, stop: threading.Event) -> None:
    config = simulated_options.section(trial.treatment).router.config
    file = folder / "picker.yaml"
    if config is not None:
        file.write_text(config.text, encoding="utf-8")
    _bring_up("router", _router_command(folder, None if config is None else file), folder, 0, stop)


def _apply_server(trial: Trial, folder: Path, stop: threading.Event) -> None:
    startup_s = simulated_options.section(trial.treatment).engine.startup
    _bring_up("server", _server_command(trial, folder), folder, startup_s, stop)
    router = _announced(folder, "router")
    if router is None:
        return
    # The router learns of the new servers from their file; ready is what answers through it.
    model = trial.treatment.model.name
    if not until(
        lambda: simulated_serving.passes(router["router"], model), _DATA_PLANE_S, stop=stop
    ):
        raise StepFailure(
            f"the servers are ready but the router does not pass requests for '{model}' to them",
            FailureClass.SERVER,
            log=processes.log_tail(processes.log_file(folder, "router")),
        )


def _bring_up(
    name: str, command: list[str], folder: Path, startup_s: float, stop: threading.Event
) -> None:
    startup.take_down(name, folder)
    _announce_file(folder, name).unlink(missing_ok=True)

    def ready(identity: Identity) -> bool:
        announced = _announced(folder, name)
        return announced is not None and announced["pid"] == identity.pid

    startup.bring_up(
        name, command, folder, ready=ready, timeout_s=_STARTUP_S + startup_s, stop=stop
    )


def _router_command(folder: Path, config: Path | None) -> list[str]:
    place = {
        "servers-file": _announce_file(folder, "server"),
        "host": "127.0.0.1",
        "port": 0,
        "announce": _announce_file(folder, "router"),
    }
    return [
        sys.executable,
        *simulated_options.route(None if config is None else str(config), place),
    ]


def _server_command(trial: Trial, folder: Path) -> list[str]:
    place = {"host": "127.0.0.1", "port": 0, "announce": _announce_file(folder, "server")}
    seed = simulated_options.seed(trial)
    return [sys.executable, *simulated_options.serve(trial.treatment, place, seed=seed)]


def _prefills(announced: dict[str, Any]) -> list[str]:
    labels = announced.get("labels", {})
    return [url for url in announced["servers"] if labels.get(url, {}).get(ROLE) == "prefill"]


def _announce_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _announced(folder: Path, name: str) -> dict[str, Any] | None:
    """Read what a running program announced; None if it does not run or is not ready."""
    try:
        document = json.loads(_announce_file(folder, name).read_bytes())
    except (OSError, ValueError):
        return None
    standing = [one for one in processes.recorded(folder, name) if one.pid == document["pid"]]
    return document if any(processes.alive(one) for one in standing) else None
