"""A server from a command: what goes wrong while it starts, said in one sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import FailureClass, StepFailure, UserError
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.stacks import process, processes
from llmatrix.stacks.local_site import LocalSite
from llmatrix.stacks.process import Process

# A server with the parts of the OpenAI interface that starting one needs; every behaviour is real.
SERVER = """
import http.server, json, os, sys
port, model = int(sys.argv[1]), sys.argv[2]
answers = {
    "/health": {}, "/v1/models": {"data": [{"id": model}]},
    "/reset_prefix_cache": {"success": True},
}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(answers[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
print("token:", os.environ.get("TOKEN"), flush=True)
server.serve_forever()
"""

Make = Callable[..., Trial]


@pytest.fixture
def trial(make_trial: Make) -> Make:
    def make(*command: str, **more: Any) -> Trial:
        return make_trial({"kind": "process", "command": command, **more}, model="m")

    return make


def apply(trial: Trial, site: LocalSite) -> None:
    Process().apply(Step.SERVER, trial, site, threading.Event())


def remove(site: LocalSite) -> None:
    assert Process().remove(site) == []


def test_a_program_that_is_not_there(trial: Make, site: LocalSite) -> None:
    one = trial("no-such-server", "{port}")
    with pytest.raises(UserError, match=r"'no-such-server' was not found; .*PATH is"):
        Process().preflight(one.treatment)
    with pytest.raises(StepFailure, match="was not found") as caught:
        apply(one, site)
    assert caught.value.failure is FailureClass.USER


def test_a_program_beside_our_python_is_found_though_path_lacks_it(
    trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    Process().preflight(trial("pytest", "{port}").treatment)


def test_a_file_that_no_system_executes(trial: Make, site: LocalSite, tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_bytes(b"\x00\x01\x02\n")
    program.chmod(0o755)
    with pytest.raises(StepFailure, match="could not be executed") as caught:
        apply(trial(str(program), "{port}"), site)
    assert caught.value.failure is FailureClass.USER


def test_one_that_dies_while_starting(trial: Make, site: LocalSite, python: str) -> None:
    code = "print('loading'); raise SystemExit('no memory for {model}')"
    with pytest.raises(StepFailure) as caught:
        apply(trial(python, "-c", code, "{port}"), site)
    assert caught.value.failure is FailureClass.SERVER
    assert "ended while it was starting (exit status 1)" in str(caught.value)
    assert "its last line: no memory for m" in str(caught.value)
    assert caught.value.log == "loading\nno memory for m\n"
    assert processes.recorded(site.folder) == []


def test_one_that_is_never_ready(trial: Make, site: LocalSite, python: str) -> None:
    wait = "import time; time.sleep(600)"
    one = trial(python, "-c", wait, "{port}", ready={"timeout": "300ms"})
    with pytest.raises(StepFailure, match=r"was not ready within 0\.3 s") as caught:
        apply(one, site)
    assert caught.value.failure is FailureClass.SERVER
    assert processes.recorded(site.folder) == []


def test_a_port_lost_to_somebody_else_is_given_up(
    trial: Make, site: LocalSite, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        choose = process._free_port
        ports = iter([somebody.getsockname()[1]])
        monkeypatch.setattr(process, "_free_port", lambda: next(ports, None) or choose())
        apply(trial(python, "-c", SERVER, "{port}", "{model}"), site)
        assert Process().target(trial(python), site).base_url.startswith("http://127.0.0.1:")
        assert next(ports, None) is None
        remove(site)


def test_a_server_that_answers_for_another_model(trial: Make, site: LocalSite, python: str) -> None:
    one = trial(python, "-c", SERVER, "{port}", "another")
    apply(one, site)
    with pytest.raises(StepFailure, match=r"does not serve 'm' but 'another'.*--alias") as caught:
        Process().target(one, site)
    assert caught.value.failure is FailureClass.USER
    remove(site)


def test_a_site_that_cannot_be_written_to(trial: Make, site: LocalSite, python: str) -> None:
    (site.folder / "server.url").mkdir()
    with pytest.raises(StepFailure, match=r"files of the site .* cannot be written") as caught:
        apply(trial(python, "-c", SERVER, "{port}", "{model}"), site)
    assert caught.value.failure is FailureClass.ENVIRONMENT
    assert processes.recorded(site.folder) == []


def test_a_secret_reaches_the_server_and_no_file(
    trial: Make, site: LocalSite, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", "s3cr3t")
    one = trial(python, "-c", SERVER, "{port}", "{model}", env={"TOKEN": "$THE_SECRET"})
    apply(one, site)
    assert Process().logs(site)["server.log"].startswith("token: s3cr3t")
    for file in site.folder.rglob("*"):
        if file.is_file() and file.name != "server.log":  # what the server itself prints is its own
            assert b"s3cr3t" not in file.read_bytes()
    monkeypatch.delenv("THE_SECRET")
    with pytest.raises(StepFailure, match="THE_SECRET, which is not set") as caught:
        apply(one, site)
    assert caught.value.failure is FailureClass.USER
    remove(site)


def test_caches_are_reset_where_asked_for(trial: Make, site: LocalSite, python: str) -> None:
    command = (python, "-c", SERVER, "{port}", "{model}")
    one = trial(*command, reset_prefix_cache=True)
    apply(one, site)
    assert Process().cleanse(one, site, frozenset()).clean is True
    assert Process().cleanse(trial(*command), site, frozenset()).clean is None
    assert Process().cleanse(trial(*command), site, frozenset({Step.SERVER})).clean is True
    remove(site)


def test_lanes_side_by_side_never_get_the_same_port() -> None:
    ports = [process._free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    process._given.difference_update(ports)
