"""The served page: what it answers, to whom, and that it follows the records."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import EnvironmentFault, StoreFault
from llmatrix.report.live import LivePage, LiveServer, is_loopback
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Record
from llmatrix.results.records import write_record

Shape = Callable[..., Any]
RecordOf = Callable[..., Record]


class Served:
    """A server of a synthetic experiment, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 0.0
        self.folder = folder
        self.store = FolderStore(folder.parent)
        page = LivePage(self.store, folder.name, now=lambda: self.seconds)
        self.server = LiveServer(page, "127.0.0.1", 0)

    def ask(
        self, path: str = "/", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        connection.putrequest(method, path, skip_host="Host" in named)
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.getheaders()), body


@pytest.fixture
def served(synthesize: Callable[[Any], Path], synthetic: Shape) -> Iterator[Served]:
    made = Served(synthesize(synthetic(replicates=1, requests=10)))
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_the_page_is_served_with_headers_that_keep_it_to_itself(served: Served) -> None:
    status, headers, body = served.ask()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "connect-src 'self'" in body
    assert "<title>synthetic: llmatrix report</title>" in body
    assert f'data-version="{served.ask("/version")[2]}"' in body
    assert "Python" not in headers["Server"]


def test_a_page_that_is_known_is_not_sent_again(served: Served) -> None:
    _, headers, _ = served.ask()
    status, _, body = served.ask(If_None_Match=headers["ETag"])
    assert (status, body) == (304, "")
    assert served.ask("/", "HEAD")[2] == ""


def test_a_new_record_makes_a_new_version_and_another_page(
    served: Served, record_of: RecordOf, synthetic: Shape
) -> None:
    before = served.ask("/version")[2]
    levels = {"stack.router.config": "new", "workload.question_len": "100"}
    write_record(served.store, record_of(synthetic(), 9, levels, 0), {})
    assert served.ask("/version")[2] == before  # looked at a moment ago
    served.seconds += 1.5
    after = served.ask("/version")[2]
    assert after != before
    status, headers, body = served.ask(If_None_Match=f'"{before}"')
    assert (status, headers["ETag"]) == (200, f'"{after}"')
    assert "7 valid trials" in body


def test_a_file_beside_the_records_is_no_news(served: Served) -> None:
    before = served.ask("/version")[2]
    (served.folder / "report.html").write_text("x")
    served.seconds += 1.5
    assert served.ask("/version")[2] == before


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/experiment.json",
        "//etc/passwd",
        "/version/../experiment.json",
        "/\x7f",
    ],
)
def test_no_path_reaches_a_file(served: Served, path: str) -> None:
    if path.endswith("\x7f"):
        with pytest.raises(http.client.InvalidURL):
            served.ask(path)
        return
    status, _, body = served.ask(path)
    assert (status, body) == (404, "there is nothing here; the report is at /\n")


def test_another_host_is_not_answered(served: Served) -> None:
    port = served.server.server_port
    assert served.ask(Host=f"evil.example:{port}")[0] == 421
    assert served.ask("/version", Host=f"localhost:{port}")[0] == 200
    assert served.ask("/version", Host=f"LOCALHOST:{port}")[0] == 200
    assert served.ask("/version", Host="127.0.0.1")[0] == 421


def test_nothing_can_be_written(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert served.ask("/", method)[0] == 501


def test_a_store_that_cannot_be_read_is_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise StoreFault("s3://bucket: no rights; ask for them")

    monkeypatch.setattr(FolderStore, "sizes", refuse)
    served.seconds += 5
    assert served.ask("/version") == (
        503,
        served.ask("/version")[1],
        "s3://bucket: no rights; ask for them\n",
    )


def test_a_damaged_record_is_told_on_the_page(served: Served) -> None:
    victim = next(served.folder.glob("*/record.json"))
    victim.write_text("{")
    served.seconds += 1.5
    body = served.ask()[2]
    assert "is not a whole JSON document" in body
    assert "5 valid trials" in body


def test_a_busy_port_is_told(served: Served) -> None:
    port = served.server.server_port
    with pytest.raises(EnvironmentFault, match=f"port {port} of 127.0.0.1 is in use; choose"):
        LiveServer(served.server.page, "127.0.0.1", port)


def test_an_address_of_another_machine_is_told(served: Served) -> None:
    with pytest.raises(EnvironmentFault, match=r"203\.0\.113\.1 port 0 cannot be served on"):
        LiveServer(served.server.page, "203.0.113.1", 0)


def test_the_sixth_version_of_the_protocol_has_brackets(served: Served) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        server = LiveServer(served.server.page, "::1", 0)
    except EnvironmentFault:
        pytest.skip("no IPv6 on this machine")
    assert server.url == f"http://[::1]:{server.server_port}/"
    assert f"[::1]:{server.server_port}" in server.hosts
    server.server_close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("192.0.2.1", False), ("x.y", False)],
)
def test_loopback_is_known(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(
    place: Any, synthesize: Callable[[Any], Path], synthetic: Shape
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    process = place.start("view", str(folder), "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.endswith("/ shows synthetic; Ctrl-C ends it\n")
    port = int(line.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/version")
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "ended\n")


def test_the_command_needs_an_experiment(place: Any) -> None:
    (place.folder / "empty").mkdir()
    said = place("view", "empty")
    assert said.code == 2
    assert "holds no trial yet" in said.err
    assert place("view", "nowhere").code == 2
    assert "there is no store of kind" in place("view", "ftp://x/y").err
