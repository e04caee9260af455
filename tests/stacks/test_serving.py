"""What is asked of servers, and what is made of their answers; over real sockets."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from llmatrix.stacks import serving
from llmatrix.stacks.http import Unreachable, answers, ask

if TYPE_CHECKING:
    from stacks.conftest import Scripted

MODELS = {"object": "list", "data": [{"id": "a"}, {"id": "b"}]}


def test_models_are_listed(scripted: Scripted) -> None:
    scripted.answers["GET /v1/models"] = [(200, MODELS)]
    assert serving.served_models(scripted.url, "s3cr3t") == ("a", "b")
    ((_, headers),) = scripted.asked
    assert headers["Authorization"] == "Bearer s3cr3t"
    assert serving.wrong_model(scripted.url, "b", ("a", "b")) is None
    said = serving.wrong_model(scripted.url, "c", ("a", "b"))
    assert said == f"{scripted.url} does not serve 'c' but 'a', 'b'"
    assert (
        serving.wrong_model(scripted.url, "c", ())
        == f"{scripted.url} does not serve 'c' but no model"
    )


@pytest.mark.parametrize(
    ("body", "simulated"),
    [
        ({"version": "1", "simulated": True}, True),
        ({"version": "0.26.0"}, False),
        ({"simulated": "no"}, False),
        ([True], False),
        (b"not found", False),
    ],
)
def test_a_simulator_is_known_by_what_it_says(
    scripted: Scripted, body: object, *, simulated: bool
) -> None:
    scripted.answers["GET /version"] = [(200, body)]
    assert serving.is_simulated(scripted.url) is simulated
    assert not serving.is_simulated("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"error": "no"}, "check the API key"),
        (403, {"error": "no"}, "check the API key"),
        (404, {"error": "no"}, "answers 404 without a list of models"),
        (200, b"<html>hello</html>", "answers 200 without a list of models"),
        (200, [1], "answers 200 without a list of models"),
    ],
)
def test_what_is_no_openai_server(scripted: Scripted, status: int, body: object, says: str) -> None:
    scripted.answers["GET /v1/models"] = [(status, body)]
    with pytest.raises(serving.NotServing, match=says):
        serving.served_models(scripted.url)


def test_a_url_with_the_version_in_it(scripted: Scripted) -> None:
    with pytest.raises(serving.NotServing, match="write the URL without /v1"):
        serving.served_models(f"{scripted.url}/v1")


def test_a_server_that_is_not_ready(scripted: Scripted) -> None:
    scripted.answers["GET /v1/models"] = [(503, {})]
    with pytest.raises(Unreachable, match="it is not ready"):
        serving.served_models(scripted.url)


def test_a_reset_is_asked_for_until_it_is_true(scripted: Scripted) -> None:
    no, yes = (200, {"success": False}), (200, {"success": True})
    scripted.answers["POST /reset_prefix_cache"] = [no, (503, {}), no, yes]
    found = serving.reset_prefix_cache(scripted.url)
    assert found.clean is True
    assert len(scripted.asked) == 4


def test_a_reset_that_never_succeeds_is_not_believed(scripted: Scripted) -> None:
    scripted.answers["POST /reset_prefix_cache"] = [(200, {"success": False})]
    found = serving.reset_prefix_cache(scripted.url, patience_s=0.1)
    assert found.clean is False
    assert "says that the prefix cache was not dropped, for 0.1 s" in found.detail
    assert len(scripted.asked) > 1


@pytest.mark.parametrize(
    ("status", "body", "clean", "says"),
    [
        (200, b"", None, "without saying whether it did"),
        (404, {}, False, "VLLM_SERVER_DEV_MODE=1"),
        (501, {}, False, "is not offered"),
        (400, {}, False, "answers 400"),
    ],
)
def test_answers_to_a_reset_that_settle_it(
    scripted: Scripted, status: int, body: object, *, clean: bool | None, says: str
) -> None:
    scripted.answers["POST /reset_prefix_cache"] = [(status, body)]
    found = serving.reset_prefix_cache(scripted.url)
    assert found.clean is clean
    assert says in found.detail
    assert len(scripted.asked) == 1


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match="cannot be reached"):
            ask("GET", url)
        assert not answers(url)
        assert serving.reset_prefix_cache(url, patience_s=0.05).clean is False


@pytest.mark.parametrize(
    "url", ["http://no host/", "gopher://127.0.0.1/", "http://127.0.0.1:99999"]
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(Unreachable):
        ask("GET", url)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (b"", "did not answer within 0.3 s"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "did not answer within 0.3 s"),
    ],
)
def test_servers_that_speak_oddly(said: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)
                done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unreachable, match=says):
            ask("GET", f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
        done.set()
        thread.join()


def test_proxies_of_the_environment_are_not_used(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    scripted.answers["GET /health"] = [(200, {})]
    assert answers(f"{scripted.url}/health")


def test_redirects_are_not_followed(scripted: Scripted) -> None:
    scripted.answers["GET /health"] = [(302, {})]
    assert not answers(f"{scripted.url}/health")
