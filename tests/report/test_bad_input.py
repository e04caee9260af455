"""What a store holds that is not right: each with a clear sentence, and the rest is shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmatrix.cli.report import command
from llmatrix.cli.view import command as view
from llmatrix.errors import LlmatrixError, StoreFault, UserError
from llmatrix.report.page import render_page
from llmatrix.report.summary import Summary
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Record
from llmatrix.results.records import write_record

Synthesize = Callable[[Any], Path]
Shape = Callable[..., Any]


def report(place: str | Path) -> Result:
    return CliRunner().invoke(command, [str(place)])


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"results": [1, 2]}', "was not written by llmatrix: it has no 'version'"),
        ("[1, 2]", "was not written by llmatrix: it has no 'version'"),
        ('{"version": 1, "trial"', "is not a whole JSON document"),
        ("", "is not a whole JSON document"),
        ("\x00\x01\x02", "is not a whole JSON document"),
        ('{"version": 99}', "has version 99, and this llmatrix reads versions up to 1"),
        ('{"version": 1, "trial": 3}', "is not a record of version 1"),
    ],
    ids=["foreign", "a list", "half-written", "empty", "binary", "newer", "other fields"],
)
def test_a_bad_record_is_told_and_the_others_are_shown(
    synthesize: Synthesize, synthetic: Shape, content: str, sentence: str
) -> None:
    folder = synthesize(synthetic(replicates=2, requests=10))
    victim = next(folder.glob("*/record.json"))
    victim.write_text(content)
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert "11 trials measured" in result.output
    for text in (result.output, page_of(folder).replace("&#39;", "'")):
        assert f"{victim}: {sentence}" in text
    assert "1 not readable" in page_of(folder)


def test_where_no_record_is_good_that_is_said(synthesize: Synthesize, synthetic: Shape) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    for record in folder.glob("*/record.json"):
        record.write_text("{}")
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert "Not readable (6)" in result.output
    assert "No trial has been measured yet." in page_of(folder)


def test_records_without_any_request_are_shown_all_the_same(
    synthesize: Synthesize, synthetic: Shape
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    for requests in folder.glob("*/requests.parquet"):
        requests.unlink()
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert "Not readable (6)" in result.output
    assert "requests.parquet: is missing; pictures of requests leave the trial out" in result.output
    assert "6 valid trials" in page_of(folder)


def test_a_torn_manifest_costs_what_only_it_tells(synthesize: Synthesize, synthetic: Shape) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    (folder / "experiment.json").write_text('{"name": ')
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert "planned trials and objectives are unknown until the next run" in result.output
    assert "6 valid trials" in page_of(folder)


def test_an_amended_experiment_is_shown_whole(
    synthesize: Synthesize, synthetic: Shape, record_of: Callable[..., Record]
) -> None:
    shape = synthetic(replicates=1, requests=5)
    folder = synthesize(shape)
    store = FolderStore(folder.parent)
    old = json.loads(next(folder.glob("*/record.json")).read_bytes())
    document = old["document"] | {"workload": {"question_len": "100", "output_len": 7}}
    levels = {
        "stack.router.config": "kv",
        "workload.question_len": "100",
        "workload.output_len": "7",
    }
    amended = record_of(shape, 99, levels, 0, document=document)
    write_record(store, amended, {})
    summary = Summary(load(store, shape.name))
    assert summary.dataset.factors[2] == "workload.output_len"
    page = render_page(summary)
    assert "7 valid trials" in page
    assert "requests.parquet" in page  # the amended trial brought none, and that is told
    assert "is missing" in page


def test_records_of_two_measurers_are_told_apart(
    synthesize: Synthesize, synthetic: Shape, record_of: Callable[..., Record]
) -> None:
    shape = synthetic(replicates=1, requests=5)
    folder = synthesize(shape)
    store = FolderStore(folder.parent)
    levels = {"stack.router.config": "kv", "workload.question_len": "100"}
    newer = record_of(
        shape, 98, levels, 0, trial="f" * 20, versions={"harness": "native-2", "stack": "x"}
    )
    write_record(store, newer, {})
    summary = Summary(load(store, shape.name))
    assert "versions.harness" in summary.dataset.factors
    assert len(summary.treatments) == 7
    assert "native-1" in render_page(summary)


@pytest.mark.parametrize("verb", [command, view], ids=["report", "view"])
def test_an_empty_folder_is_told(tmp_path: Path, verb: Any) -> None:
    result = CliRunner().invoke(verb, [str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert "holds no trial yet" in str(result.exception)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Stand in for an object store that gives no right to anything."""

    class Refuse(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            content = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self) -> None:
            self.refuse()

        def do_HEAD(self) -> None:
            self.refuse()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("LLMATRIX_CACHE", str(tmp_path / "cache"))
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("verb", [command, view], ids=["report", "view"])
def test_a_bucket_without_rights_is_told(verb: Any) -> None:
    result = CliRunner().invoke(verb, ["s3://private/quickstart"])
    assert isinstance(result.exception, LlmatrixError)
    assert isinstance(result.exception, StoreFault)
    assert result.exception.exit_code == 3
    assert "the credentials give no right to do that in 'private'" in str(result.exception)
