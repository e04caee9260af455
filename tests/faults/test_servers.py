"""Servers that are not there, are others, die or lie: what is said, and that nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmatrix.stacks.local_site import sites
from llmatrix.stacks.processes import recorded

Place = Any  # the fixtures of conftest.py, which is no module that a test may import
Server = Any

pytestmark = pytest.mark.slow

WORKLOAD: dict[str, Any] = {
    "kind": "random",
    "question_len": 8,
    "output_len": 4,
    "load": {"rate": 20, "arrivals": "constant"},
    "warmup": 0,
    "duration": "500ms",
}


def endpoint(place: Place, url: str, **sections: Any) -> str:
    name: str = place.write(
        model={"name": "m"},
        stack={"kind": "endpoint", "url": url},
        **{"workload": WORKLOAD, **sections},
    )
    return name


def no_server() -> str:
    """Give a URL at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def measured_before(place: Place, server: Server) -> dict[str, Any]:
    """Measure one trial while all is well, and give its record."""
    server.way = "well"
    assert place("run", endpoint(place, server.url), "--only", "output_len=4").code == 0
    kept: dict[str, Any] = place.records()
    assert len(kept) == 1
    return kept


def rows(place: Place, trial: str) -> list[dict[str, Any]]:
    """Give the requests of the measured window."""
    file = place.folder / "results/small" / trial / "requests.parquet"
    return [row for row in pq.read_table(file).to_pylist() if row["phase"] == "window"]


def test_an_endpoint_that_cannot_be_reached(place: Place) -> None:
    url = no_server()
    file = endpoint(place, url)
    said = place("run", file)
    assert said.code == 3
    assert said.err == (
        f"error: {url}/v1/models cannot be reached: Connection refused; is the endpoint up?\n"
    )
    assert not (place.folder / "results").exists()
    assert place("plan", file).code == 0  # planning asks nobody


def test_an_endpoint_that_serves_another_model(place: Place, server: Server) -> None:
    kept = measured_before(place, server)
    server.models = ["other", "third"]
    said = place("run", "e.yaml")
    assert said.code == 2
    assert said.err == (
        f"error: {server.url} does not serve 'm' but 'other', 'third'; "
        "write one of these as model.name\n"
    )
    assert place.records() == kept
    server.models = ["m"]
    assert place("run", "e.yaml").code == 0
    assert len(place.records()) == 2
    assert kept.items() <= place.records().items()


def test_what_a_hostile_endpoint_says_cannot_steer_the_terminal(
    place: Place, server: Server
) -> None:
    server.models = ["a\x1b[2J\x07\nerror: all is lost"]
    said = place("run", endpoint(place, server.url))
    assert said.code == 2
    assert printable(said.err)


def test_a_server_that_answers_200_with_an_error_event(place: Place, server: Server) -> None:
    kept = measured_before(place, server)
    server.way = "error event"
    server.words = "CUDA out\nof memory \x1b[31m"
    said = place("run", "e.yaml")
    assert said.code == 0  # it was measured: the record says what the server did
    said_lines = said.err.splitlines()
    assert "2 of 2 trials measured; 1 of this run invalid" in said_lines
    assert "mend what made them invalid, then add --redo-invalid" in said_lines
    (new,) = place.records().keys() - kept.keys()
    record = place.records()[new]
    (check,) = [c for c in record["checks"] if c["name"] == "error_share"]
    assert check["verdict"] == "fail"
    assert record["metrics"]["requests_completed"] == 0
    told = {(row["error"], row["error_detail"]) for row in rows(place, new)}
    assert told == {("stream", "CUDA out of memory [31m")}
    assert place.records()[next(iter(kept))] == next(iter(kept.values()))
    assert "\x1b" not in place("status", "e.yaml").out
    assert "invalid: " in place("status", "e.yaml").out


@pytest.mark.parametrize(("way", "error"), [("stops", "timeout"), ("hangs up", "stream")])
def test_a_stream_that_stops(place: Place, server: Server, way: str, error: str) -> None:
    kept = measured_before(place, server)
    server.way = way
    endpoint(place, server.url, workload={**WORKLOAD, "timeout": "300ms"})
    said = place("run", "e.yaml", "--only", "output_len=5")
    assert said.code == 0
    (new,) = place.records().keys() - kept.keys()
    record = place.records()[new]
    (check,) = [c for c in record["checks"] if c["name"] == "error_share"]
    assert check["verdict"] == "fail"
    told = rows(place, new)
    assert {row["error"] for row in told} == {error}
    assert kept.items() <= place.records().items()


def test_a_simulated_server_that_crashes_on_purpose_makes_each_trial_invalid(place: Place) -> None:
    """In every trial, at the same moment; it is not tried again, and the figures are kept."""
    fault = {"kind": "crash", "replica": 1, "at": "1500ms", "duration": "500ms"}
    stack = {"kind": "simulated", "replicas": 2, "faults": [fault]}
    file = place.write(
        stack=stack,
        matrix=None,
        replicates=2,
        workload={**WORKLOAD, "duration": "4s", "load": {"rate": 100, "arrivals": "constant"}},
    )
    said = place.finish("run", file)
    assert said.code == 0
    assert "again in" not in said.err
    assert "2 of 2 trials measured; 2 of this run invalid" in said.err
    for trial, record in place.records().items():
        assert record["document"]["stack"]["faults"][0]["kind"] == "crash"
        (restarts,) = [c for c in record["checks"] if c["name"] == "server_restarts"]
        assert (restarts["verdict"], restarts["figure"]) == ("fail", 1.0)
        assert "crashed, as its fault asks" in restarts["advice"]
        failed = [row for row in rows(place, trial) if row["error"]]
        whole = [row for row in rows(place, trial) if not row["error"]]
        assert failed, "requests on their way to it were lost"
        assert len(whole) > len(failed), "the other replica went on"
    assert "invalid: " in place("status", file).out


def test_a_crashed_server_that_stays_away_is_made_anew_for_the_next_trial(place: Place) -> None:
    stack = {
        "kind": "simulated",
        "replicas": 2,
        "faults": [{"kind": "crash", "replica": 0, "at": "1s"}],
    }
    file = place.write(
        stack=stack, matrix=None, replicates=2, workload={**WORKLOAD, "duration": "2s"}
    )
    assert place.finish("run", file).code == 0
    records = place.records()
    assert len(records) == 2
    for record in records.values():
        (restarts,) = [c for c in record["checks"] if c["name"] == "server_restarts"]
        assert restarts["verdict"] == "fail"
        (server,) = [step for step in record["steps"] if step["step"] == "server"]
        assert server["outcome"] == "applied"


def test_a_simulated_server_killed_while_it_is_measured_is_made_anew(place: Place) -> None:
    workload = {**WORKLOAD, "duration": "2s"}
    file = place.write(workload=workload)
    run = place.start("run", file)
    while " begins: " not in run.stderr.readline():
        assert run.poll() is None
    (site,) = sites()
    place.until(place.load_generators)
    (server,) = recorded(site.folder, "server")
    os.kill(server.pid, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (0, "")
    assert (
        "again in 1 s: a server ended while the workload ran; its last lines are in the log." in err
        or "again in 1 s: the server answered nothing for 5 s" in err
    )
    records = place.records()
    assert len(records) == 2
    attempts = [attempt for record in records.values() for attempt in record["attempts"]]
    assert [(a["step"], a["failure"]) for a in attempts] == [("workload", "server")]
    applied = [s for r in records.values() for s in r["steps"] if s["step"] == "server"]
    assert [s["outcome"] for s in applied].count("applied") == 1
    assert place.failures() == {}
    place.nothing_runs()


FRAGILE = """
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": "m"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if len(asked["prompt"]) == 9:
            print("Segmentation fault (core dumped)", file=sys.stderr, flush=True)
            os._exit(139)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for _ in range(asked["max_tokens"]):
            self.say({"choices": [{"index": 0, "text": "w", "finish_reason": None}]})
        counts = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": asked["max_tokens"]}
        self.say({"choices": [], "usage": counts})

    def say(self, document):
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\\n\\n")

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_that_dies_each_time_is_a_failure_and_the_others_finish(place: Place) -> None:
    (place.folder / "fragile.py").write_text(FRAGILE)
    stack = {
        "kind": "process",
        "command": [sys.executable, str(place.folder / "fragile.py"), "{port}"],
        "metrics_path": None,
    }
    matrix = {"workload.question_len": [8, 9, 10]}
    file = place.write(
        model={"name": "m"}, stack=stack, workload=WORKLOAD, matrix=matrix, run={"retries": 1}
    )
    said = place("run", file)
    assert said.code == 1
    # A busy machine may make figures invalid; that is another matter.
    assert re.search(
        r"^2 of 3 trials measured(; \d of this run invalid)?; 1 failed, and the same command "
        r"tries them again$",
        said.err,
        re.MULTILINE,
    )
    levels = {record["levels"]["workload.question_len"] for record in place.records().values()}
    assert levels == {"8", "10"}
    (failure,) = place.failures().values()
    assert failure["levels"] == {"workload.question_len": "9"}
    assert [attempt["failure"] for attempt in failure["attempts"]] == ["server", "server"]
    assert "Segmentation fault (core dumped)" in failure["log"]
    kept = place.records()
    status = place("status", file).out
    assert "2 valid" in status or "invalid" in status
    assert "1 failed, 0 missing" in status
    assert "question_len=9: failed at workload: " in status

    fixed = FRAGILE.replace("== 9", "== 99")
    (place.folder / "fragile.py").write_text(fixed)
    again = place("run", file)
    assert again.code == 0
    assert place.failures() == {}
    assert len(place.records()) == 3
    assert kept.items() <= place.records().items()
    place.nothing_runs()


def test_a_server_that_cannot_start_says_its_last_line(place: Place) -> None:
    program = r"import sys; sys.exit('\033[31mno such device:\a cuda:7\033[0m')"
    stack = {"kind": "process", "command": [sys.executable, "-c", program, "{port}"]}
    file = place.write(model={"name": "m"}, stack=stack, matrix=None, run={"retries": 0})
    said = place("run", file)
    assert said.code == 1
    sentence = (
        f"the server ({sys.executable} …) ended while it was starting (exit status 1); "
        "its last line: no such device:  cuda:7"
    )
    assert f"failed at server: {sentence}" in said.err
    assert f"failed at server: {sentence}" in place("status", file).out
    assert printable(said.err)
    (failure,) = place.failures().values()
    assert "\x1b[31mno such device:\x07 cuda:7" in failure["attempts"][0]["message"]
    assert list(sites()) == []


HOSTILE = "evil\n\x1b[2J\x1b]0;owned\x07 [red]" + "x" * 10_000


def test_hostile_labels_are_refused_or_shown_safely_and_kept_whole(place: Place) -> None:
    for hostile in (HOSTILE, HOSTILE[:40]):
        levels = [{"name": "calm", "value": 4}, {"name": hostile, "value": 5}]
        refused = place("plan", place.write(matrix={"workload.output_len": levels}))
        assert refused.code == 2
        assert ": workload.output_len: the name of a level must " in refused.err
        assert len(refused.err) < 300
        assert printable(refused.err)

    name = "[red]evil[/red] {x} %s $(id) <b>" + "x" * 20
    levels = [{"name": "calm", "value": 4}, {"name": name, "value": 5}]
    file = place.write(matrix={"workload.output_len": levels})
    for command in (("plan", file), ("plan", file, "--json"), ("run", file), ("status", file)):
        said = place(*command)
        assert said.code == 0
        assert printable(said.out + said.err)
        if command[0] in {"plan", "run"}:
            assert "[red]evil[/red]" in said.out + said.err
    kept = {record["levels"]["workload.output_len"] for record in place.records().values()}
    assert kept == {"calm", name}
    report = place("report")
    assert report.code == 0
    assert "[red]evil[/red]" in report.out
    assert printable(report.out)
    assert "<b>x" not in (place.folder / "results/small/report.html").read_text()


def test_a_value_full_of_control_characters_is_no_label(place: Place) -> None:
    """A level's label is its value where it has no name: a model's name may hold anything."""
    levels = ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B\x1b[2J\nsecond line"]
    file = place.write(matrix={"model.name": levels})
    said = place("plan", file)
    assert printable(said.out + said.err)


def printable(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)
