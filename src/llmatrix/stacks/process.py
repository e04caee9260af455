"""One real server, started from a command template on this machine."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import ClassVar, Final

from llmatrix.errors import FailureClass, StepFailure, UserError
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.stacks import ProcessStack
from llmatrix.stacks import command, processes, serving, startup
from llmatrix.stacks.http import Unreachable, answers
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.site import Site
from llmatrix.target import Target

_HOST: Final = "127.0.0.1"
_PROBE_S: Final = 0.2
_PORT_TRIES: Final = 3
_PORT_TAKEN: Final = ("address already in use", "eaddrinuse", "couldn't bind", "errno 98")

# Ports given out by this process: lanes side by side must not choose the same one before their
# servers have taken them.
_given: set[int] = set()
_giving = threading.Lock()


class Process:
    """Implements ``protocol.Stack`` with any OpenAI-compatible server that a command starts."""

    kind: ClassVar[str] = "process"
    version: ClassVar[str] = "1"

    def check(self, treatment: Treatment) -> None:
        command.arguments(_section(treatment), _values(treatment, 0))

    def preflight(self, treatment: Treatment) -> None:
        stack = _section(treatment)
        arguments = command.arguments(stack, _values(treatment, 0))
        environment = command.environment(stack, os.environ)
        _program(arguments[0], environment)

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        if step is Step.NAMESPACE:
            return site.folder.is_dir()
        url = _standing(site.folder)
        return url is not None and answers(url + _section(trial.treatment).ready.path)

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        with startup.writing(site.folder):
            if step is Step.NAMESPACE:
                site.folder.mkdir(parents=True, exist_ok=True)
            elif step is Step.SERVER:
                _apply_server(trial.treatment, site.folder, stop)

    def target(self, trial: Trial, site: Site) -> Target:
        stack = _section(trial.treatment)
        model = trial.treatment.model.name
        log = processes.log_tail(processes.log_file(site.folder, "server"))
        url = _standing(site.folder)
        if url is None:
            raise StepFailure("the server no longer runs", FailureClass.SERVER, log=log)
        try:
            served = serving.served_models(url)
        except (Unreachable, serving.NotServing) as error:
            raise StepFailure(str(error), FailureClass.SERVER, log=log) from error
        if wrong := serving.wrong_model(url, model, served):
            advice = (
                "let the command name it with {model}: --served-model-name {model} for vLLM, "
                "--alias {model} for llama.cpp"
            )
            raise StepFailure(f"{wrong}; {advice}", FailureClass.USER, log=log)
        metrics = () if stack.metrics_path is None else (url + stack.metrics_path,)
        simulated = serving.is_simulated(url)
        return Target(base_url=url, model=model, metrics_urls=metrics, simulated=simulated)

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        if Step.SERVER in changed:
            return Hygiene(clean=True, detail="the server has just been started")
        url = _standing(site.folder)
        if url is None:
            return Hygiene(clean=False, detail="the server no longer runs")
        if not _section(trial.treatment).reset_prefix_cache:
            return Hygiene(
                clean=None,
                detail="the server was not asked to drop its prefix cache "
                "(stack.reset_prefix_cache is false)",
            )
        return serving.reset_prefix_cache(url)

    def restarts(self, trial: Trial, site: Site) -> int:
        del trial
        return startup.ended(site.folder)

    def endings(self, trial: Trial, site: Site) -> list[str]:
        del trial, site
        return []

    def logs(self, site: Site) -> dict[str, str]:
        return startup.logs(site.folder)

    def remove(self, site: Site) -> list[str]:
        for step in (Step.SERVER, Step.NAMESPACE):
            site.disclaim(step)
        left = processes.end(processes.recorded(site.folder))
        _address_file(site.folder).unlink(missing_ok=True)
        return left


def _section(treatment: Treatment) -> ProcessStack:
    if not isinstance(treatment.stack, ProcessStack):
        raise TypeError(f"a stack of kind {treatment.stack.kind} starts no process")
    return treatment.stack


def _values(treatment: Treatment, port: int) -> dict[str, str]:
    return {"port": str(port), "host": _HOST, "model": treatment.model.name}


def _program(name: str, environment: Mapping[str, str]) -> str:
    """Find the program, also beside our own Python: what a user installed together with llmatrix.

    Raises:
        UserError: it is not there, or not executable.
    """
    path = environment.get("PATH", os.environ.get("PATH", os.defpath))
    found = shutil.which(name, path=os.pathsep.join([path, str(Path(sys.executable).parent)]))
    if found is None:
        raise UserError(
            f"stack.command: the program '{name}' was not found; "
            f"install it, or write its whole path (PATH is {path})"
        )
    return found


def _apply_server(treatment: Treatment, folder: Path, stop: threading.Event) -> None:
    """Start the server on a free port; on another one if somebody took it in the meantime."""
    for tries_left in reversed(range(_PORT_TRIES)):
        port = _free_port()
        try:
            _start_on(port, treatment, folder, stop)
        except StepFailure as failure:
            if not tries_left or not _lost_port(port, failure.log):
                raise
        else:
            return
        finally:
            with _giving:
                _given.discard(port)


def _start_on(port: int, treatment: Treatment, folder: Path, stop: threading.Event) -> None:
    stack = _section(treatment)
    url = f"http://{_HOST}:{port}"
    try:
        arguments = command.arguments(stack, _values(treatment, port))
        environment = command.environment(stack, os.environ)
        arguments[0] = _program(arguments[0], environment)
    except UserError as error:
        raise StepFailure(str(error), FailureClass.USER) from error
    startup.take_down("server", folder)
    # Before the start, so that a full disk leaves no server behind whose address nobody knows.
    _address_file(folder).write_text(url, encoding="ascii")
    startup.bring_up(
        "server",
        arguments,
        folder,
        ready=lambda _: answers(url + stack.ready.path),
        timeout_s=stack.ready.timeout,
        stop=stop,
        environment=environment,
        every_s=_PROBE_S,
    )


def _address_file(folder: Path) -> Path:
    return folder / "server.url"


def _standing(folder: Path) -> str | None:
    """Give the URL of the server if it runs."""
    if not any(processes.alive(one) for one in processes.recorded(folder, "server")):
        return None
    try:
        return _address_file(folder).read_text(encoding="ascii") or None
    except OSError:
        return None


def _free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((_HOST, 0))
            port = int(probe.getsockname()[1])
        with _giving:
            if port not in _given:
                _given.add(port)
                return port


def _lost_port(port: int, log: str) -> bool:
    """Tell whether a server that died did so because somebody else had its port."""
    if any(sign in log.lower() for sign in _PORT_TAKEN):
        return True
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
