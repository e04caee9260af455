from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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


@pytest.fixture
def prefix_config(tmp_path: Path) -> str:
    path = tmp_path / "prefix.yaml"
    path.write_text(PREFIX)
    return str(path)


def announced(program: Any, folder: Path) -> Path:
    """Write a server list that a test may change."""
    path = folder / "servers.json"
    path.write_text(json.dumps(program.announced))
    return path


@contextmanager
def misbehaving(answer: bytes) -> Iterator[str]:
    """A server that answers every request with the same bytes, then closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def attend(client: socket.socket) -> None:
        with client:
            client.settimeout(10)
            if client.recv(65536).startswith(b"POST"):
                client.sendall(answer)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=attend, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_answers_pass_through_with_the_replicas_name(programs: Any, tools: Any) -> None:
    server = programs.serve("--replicas", "3", "--router-config", "none")
    addresses = {urlsplit(url).netloc for url in server.servers}
    body = {"model": tools.model, "prompt": "a b c", "max_tokens": 3}
    direct = tools.ask(server.servers[0], COMPLETIONS, {**body, "stream": True})
    served: Counter[str] = Counter()
    for _ in range(40):
        reply = tools.ask(server.url, COMPLETIONS, {**body, "stream": True})
        assert reply.text == direct.text
        served[reply.headers[SERVED]] += 1
    whole = tools.ask(server.url, COMPLETIONS, body)

    assert set(served) == addresses
    assert whole.json["choices"][0]["text"] == direct.text
    assert whole.headers["server"].startswith("llmatrix-sim/")
    assert tools.ask(server.url, "/v1/models").json["data"][0]["id"] == tools.model
    for address in addresses:
        assert (
            tools.metric(server.url, "llmatrix_router_endpoint_requests_total", endpoint=address)
            >= served[address]
        )
    assert tools.metric(server.url, "inference_pool_ready_pods") == 3
    assert set(tools.ask(server.url, "/health").json["endpoints"]) == addresses


def test_prefixes_come_back_to_their_replica_until_a_reset(
    programs: Any, tools: Any, prefix_config: str
) -> None:
    server = programs.serve("--replicas", "4", "--router-config", prefix_config)

    def served(group: int, question: int) -> str:
        prompt = [*range(group * 1000, group * 1000 + 320), question]
        body = {"model": tools.model, "prompt": prompt, "max_tokens": 1}
        return str(tools.ask(server.url, COMPLETIONS, body).headers[SERVED])

    homes = {group: served(group, 0) for group in range(8)}
    assert len(set(homes.values())) > 1
    for group, home in homes.items():
        assert {served(group, question) for question in range(1, 6)} == {home}
    assert tools.metric(server.url, "inference_extension_prefix_indexer_size") == 8 * 20
    hits = sum(tools.metric(url, "vllm:prefix_cache_hits_total") for url in server.servers)
    assert hits == 8 * 5 * 320

    assert tools.ask(server.url, "/reset", b"").json == {"success": True}
    assert tools.metric(server.url, "inference_extension_prefix_indexer_size") == 0


def test_load_is_as_scraped(programs: Any, tools: Any, tmp_path: Path) -> None:
    config = tmp_path / "kv.yaml"
    config.write_text(PREFIX.replace("prefix-cache-scorer", "kv-cache-utilization-scorer"))
    server = programs.serve("--replicas", "2", "--router-config", str(config))
    busy, free = server.servers
    long = {"model": tools.model, "prompt": [1] * 2000, "max_tokens": 30_000, "stream": True}
    data = json.dumps(long).encode()
    parts = urlsplit(busy)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        usage = "inference_pool_average_kv_cache_utilization"
        tools.until(lambda: tools.metric(server.url, usage) > 0)
        body = {"model": tools.model, "prompt": "x", "max_tokens": 1}
        found = {tools.ask(server.url, COMPLETIONS, body).headers[SERVED] for _ in range(10)}

    assert found == {urlsplit(free).netloc}
    age = "llmatrix_router_endpoint_metrics_age_seconds"
    assert tools.metric(server.url, age, endpoint=parts.netloc) < 5


def test_a_router_follows_its_file_and_forgets_replicas_that_went(
    programs: Any, tools: Any, tmp_path: Path, prefix_config: str
) -> None:
    servers = programs.serve("--replicas", "2")
    file = tmp_path / "servers.json"
    router = programs.route(prefix_config, file)
    body = {"model": tools.model, "prompt": "word " * 64, "max_tokens": 1}

    nothing = tools.ask(router.url, COMPLETIONS, body)
    assert (nothing.status, nothing.json["error"]["code"]) == (503, 503)

    def ready() -> float:
        return float(tools.metric(router.url, "inference_pool_ready_pods"))

    def entries() -> float:
        return float(tools.metric(router.url, "inference_extension_prefix_indexer_size"))

    file.write_text(json.dumps(servers.announced))
    tools.until(lambda: ready() == 2)
    home = tools.ask(router.url, COMPLETIONS, body).headers[SERVED]
    assert entries() == 5
    stay = [url for url in servers.servers if urlsplit(url).netloc != home]
    file.write_text(json.dumps({**servers.announced, "servers": stay}))
    tools.until(lambda: ready() == 1)
    assert entries() == 0
    assert tools.ask(router.url, COMPLETIONS, body).headers[SERVED] == urlsplit(stay[0]).netloc

    assert entries() == 5
    file.write_text(json.dumps({**servers.announced, "servers": stay, "pid": 1}))
    tools.until(lambda: entries() == 0)
    file.write_text("no JSON")
    tools.until(lambda: ready() == 0)
    file.unlink()
    assert tools.ask(router.url, COMPLETIONS, body).status == 503
    assert (router.stop(), tools.ask(servers.url, "/health").status) == (0, 200)


def test_a_replica_that_is_gone_is_answered_for_with_502(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    server = programs.serve()
    router = programs.route("none", announced(server, tmp_path))
    body = {"model": tools.model, "prompt": "x", "max_tokens": 1}
    tools.until(lambda: tools.ask(router.url, COMPLETIONS, body).status == 200)

    server.process.kill()
    server.process.wait(10)
    reply = tools.ask(router.url, COMPLETIONS, body)

    assert (reply.status, reply.json["error"]["code"]) == (502, 502)
    assert urlsplit(server.url).netloc in reply.json["error"]["message"]
    assert tools.ask(router.url, "/health").status == 200
    assert tools.metric(router.url, "llmatrix_router_endpoint_active_requests") == 0


def test_a_replica_that_dies_in_mid_answer_ends_the_answer(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    server = programs.serve()
    router = programs.route("none", announced(server, tmp_path))
    tools.until(lambda: tools.ask(router.url, "/v1/models").status == 200)
    long = {"model": tools.model, "prompt": "x", "max_tokens": 30_000, "stream": True}
    data = json.dumps(long).encode()
    parts = urlsplit(router.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        assert b"200 OK" in connection.recv(65536)
        server.process.kill()
        found = b"-"
        try:
            while piece := connection.recv(65536):
                found = found[-100:] + piece
        except ConnectionResetError:
            pass

    assert not found.endswith(b"0\r\n\r\n")
    assert tools.metric(router.url, "llmatrix_router_endpoint_errors_total") == 1


def test_a_client_that_leaves_the_router_leaves_the_replica(programs: Any, tools: Any) -> None:
    server = programs.serve("--router-config", "none")
    replica = server.servers[0]
    long = {"model": tools.model, "prompt": "x", "max_tokens": 30_000, "stream": True}
    data = json.dumps(long).encode()
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        assert b"200 OK" in connection.recv(65536)

    tools.until(
        lambda: tools.metric(replica, "vllm:request_success_total", finished_reason="abort") == 1
    )
    assert tools.metric(server.url, "llmatrix_router_endpoint_active_requests") == 0


@contextmanager
def keeping(answer: bytes, sent: threading.Event) -> Iterator[tuple[str, list[int]]]:
    """A server that keeps connections; gives its URL, and the POSTs of each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    counts: list[int] = []

    def attend(client: socket.socket) -> None:
        with client:
            mine = -1
            while (request := client.recv(65536)).startswith(b"POST"):
                if mine < 0:
                    mine = len(counts)
                    counts.append(0)
                counts[mine] += 1
                assert request.endswith(b"}")
                client.sendall(answer)
                sent.set()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=attend, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", counts
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_client_that_reads_slowly_holds_the_replica_back(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    body = b"x" * 24 * 2**20
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    sent = threading.Event()
    with keeping(answer, sent) as (url, counts):
        file = tmp_path / "servers.json"
        file.write_text(json.dumps({"pid": 1, "servers": [url]}))
        router = programs.route("none", file)
        parts = urlsplit(router.url)
        request = b"POST /v1/completions HTTP/1.1\r\ncontent-length: 26\r\n\r\n"
        request += b'{"model":"m","prompt":"x"}'
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(request)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
            assert not sent.wait(0.5)
            left = len(body)
            while left > 2000:
                left -= len(connection.recv(2**20))
        reply = tools.ask(router.url, COMPLETIONS, {"model": "m", "prompt": "y"})

    assert len(reply.body) == len(body)
    assert counts == [2]


ANSWERS = [
    (b"", 502),
    (b"nonsense\r\n\r\n", 502),
    (b"HTTP/1.1 200 OK\r\ncontent-le", 502),
    (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, 502),
    (b"HTTP/1.1 418 Teapot\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno", 418),
]


def test_whatever_a_replica_answers_the_client_is_answered(
    programs: Any, tools: Any, tmp_path: Path
) -> None:
    file = tmp_path / "servers.json"
    router = programs.route("none", file)
    body = {"model": "m", "prompt": "x"}
    for number, (answer, status) in enumerate(ANSWERS):
        with misbehaving(answer) as url:
            file.write_text(json.dumps({"pid": number, "servers": [url]}))
            served = {"endpoint": urlsplit(url).netloc}
            name = "llmatrix_router_endpoint_requests_total"
            tools.until(lambda name=name, served=served: knows(tools, router.url, name, served))

            found = [tools.ask(router.url, COMPLETIONS, body).status for _ in range(3)]
            assert found == [status] * 3, answer[:30]


def knows(tools: Any, url: str, name: str, labels: dict[str, str]) -> bool:
    try:
        return bool(tools.metric(url, name, **labels) == 0)
    except AssertionError:
        return False


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (COMPLETIONS, b"{", 400),
        (COMPLETIONS, [], 400),
        (COMPLETIONS, {"prompt": "x"}, 400),
        (COMPLETIONS, {"model": "m"}, 400),
        (COMPLETIONS, {"model": "m", "prompt": [1, "x"]}, 400),
        (COMPLETIONS, {"model": "m", "prompt": [-1]}, 400),
        (COMPLETIONS, None, 405),
        ("/reset", None, 405),
        ("/reset_prefix_cache", b"", 404),
        ("/v1/models", None, 503),
        (COMPLETIONS, {"model": "m", "prompt": "x"}, 503),
    ],
)
def test_what_the_router_cannot_route_is_refused_as_openai_does(
    router_alone: Any, tools: Any, path: str, body: object, status: int
) -> None:
    reply = tools.ask(router_alone.url, path, body)

    assert (reply.status, reply.json["error"]["code"]) == (status, status)


@pytest.fixture(scope="module")
def router_alone(tmp_path_factory: pytest.TempPathFactory, router_runner: Any) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("router")
    with router_runner(folder) as started:
        yield started.route("none", folder / "nothing.json")
