from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

COMPLETIONS = "/v1/completions"
SERVED = "x-gateway-destination-endpoint-served"
PREFIX = """\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
"""

pytestmark = pytest.mark.slow


def test_servers_are_replaced_as_a_whole_and_what_was_learnt_of_the_others_goes(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    config = tmp_path / "prefix.yaml"
    config.write_text(PREFIX)
    one, other = programs.serve("--replicas", "2").servers
    router = programs.route(str(config))
    body = {"model": tools.model, "prompt": "word " * 64, "max_tokens": 1}

    def entries() -> float:
        return float(tools.metric(router.url, "inference_extension_prefix_indexer_size"))

    assert tools.ask(router.url, "/servers").json == {"servers": []}
    assert tools.ask(router.url, COMPLETIONS, body).status == 503
    assert tools.ask(router.url, "/servers", {"servers": [f"{one}/"]}).json == {"servers": [one]}
    assert tools.ask(router.url, COMPLETIONS, body).headers[SERVED] == urlsplit(one).netloc
    assert entries() == 5

    both = tools.ask(router.url, "/servers", {"servers": [one, other]}).json
    assert both == {"servers": [one, other]}
    assert entries() == 5, "a replica that stays is still known"
    refused = tools.ask(router.url, "/servers", {"servers": ["http://10.1.2.3:8000", "nowhere"]})
    assert refused.status == 400
    assert "servers[1]: 'nowhere'" in refused.json["error"]["message"]
    assert tools.ask(router.url, "/servers").json == both

    assert tools.ask(router.url, "/servers", {"servers": [other]}).json == {"servers": [other]}
    assert entries() == 0
    served = Counter(tools.ask(router.url, COMPLETIONS, body).headers[SERVED] for _ in range(5))
    assert served == {urlsplit(other).netloc: 5}


def test_a_router_whose_servers_are_told_otherwise_takes_no_list(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    following = programs.route("none", tmp_path / "servers.json")
    serving = programs.serve("--router-config", "none")

    for url, told in ((following.url, "servers.json"), (serving.url, "its own process")):
        refused = tools.ask(url, "/servers", {"servers": ["http://127.0.0.1:1"]})
        assert refused.status == 409
        assert told in refused.json["error"]["message"]
    assert tools.ask(following.url, "/servers").json == {"servers": []}
    assert tools.ask(serving.url, "/servers").json == {"servers": serving.servers}


def test_an_answer_under_way_survives_the_loss_of_its_server_from_the_list(
    programs: Any, tools: Any
) -> None:
    server = programs.serve().servers[0]
    router = programs.route("none")
    tools.ask(router.url, "/servers", {"servers": [server]})
    body = {"model": tools.model, "prompt": "x", "max_tokens": 200, "stream": True}
    with tools.asking(router.url, COMPLETIONS, body) as answer:
        first = answer.read(20)
        assert tools.ask(router.url, "/servers", {"servers": []}).json == {"servers": []}
        rest = answer.read()

    assert first
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "verb", [["serve", "--model", "Qwen/Qwen3-0.6B"], ["route", "--config=none"]]
)
def test_programs_listen_everywhere_log_to_standard_output_and_end_with_0(
    verb: list[str], tools: Any
) -> None:
    command = [sys.executable, "-m", "llmatrix.sim", *verb, "--host=0.0.0.0", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        url = first_url(process)
        assert tools.ask(url, "/health").status == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)

    assert (process.returncode, errors) == (0, b"")


def first_url(process: subprocess.Popen[bytes]) -> str:
    """Read a program's log up to the line that tells where it listens."""
    assert process.stdout is not None
    for line in process.stdout:
        if b" at http://" in line:
            return line.decode().rpartition(" at ")[2].split()[0]
    raise AssertionError("it ended before it listened")


@pytest.mark.parametrize(
    "verb", [["serve", "--model", "Qwen/Qwen3-0.6B"], ["route", "--config=none"]]
)
def test_programs_end_by_sigterm_as_the_first_process_of_a_container(
    verb: list[str], tools: Any
) -> None:
    unshare = shutil.which("unshare")
    alone = [unshare or "", "--fork", "--pid", "--kill-child"]
    if unshare is None or subprocess.run([*alone, "true"], check=False, timeout=10).returncode:
        pytest.skip("this machine grants no process namespace")
    command = [*alone, sys.executable, "-m", "llmatrix.sim", *verb, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert tools.ask(first_url(process), "/health").status == 200
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)

        assert process.wait(10) == 0
