from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmatrix.cli.report import command
from llmatrix.errors import LlmatrixError, StoreFault, UserError

Synthesize = Callable[[Any], Path]
Shape = Callable[..., Any]


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def refused(result: Result, kind: type[LlmatrixError]) -> str:
    assert isinstance(result.exception, kind)
    return str(result.exception)


def test_the_table_is_printed_and_the_page_named_last(
    synthesize: Synthesize, synthetic: Shape
) -> None:
    folder = synthesize(synthetic(replicates=2, requests=20))
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(folder / "report.html")
    assert "12 trials measured: 12 valid" in result.output
    assert "<!doctype html>" in (folder / "report.html").read_text()[:20]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_page_of_a_report_is_no_trial(synthesize: Synthesize, synthetic: Shape) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    first = report(folder).output
    assert report(folder).output == first


def test_a_store_with_one_experiment_is_enough(
    synthesize: Synthesize, synthetic: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    assert report(folder.parent).output.splitlines()[-1] == str(folder / "report.html")
    monkeypatch.chdir(folder.parent.parent)
    assert report().output.splitlines()[-1] == str(folder / "report.html")


def test_several_experiments_are_listed(synthesize: Synthesize, synthetic: Shape) -> None:
    for name in ("one", "two"):
        folder = synthesize(synthetic(name=name, replicates=1, requests=5))
    sentence = refused(report(folder.parent), UserError)
    assert "holds 2 experiments" in sentence
    assert f"llmatrix report {folder}" in sentence


def test_the_page_goes_where_it_is_told(
    synthesize: Synthesize, synthetic: Shape, tmp_path: Path
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    place = tmp_path / "elsewhere.html"
    assert report(folder, "-o", place).output.splitlines()[-1] == str(place)
    assert place.is_file()
    assert not (folder / "report.html").exists()
    sentence = refused(report(folder, "-o", tmp_path / "no" / "such" / "x.html"), StoreFault)
    assert "could not be written: No such file or directory" in sentence


def test_json_is_the_table_of_trials_and_writes_no_page(
    synthesize: Synthesize, synthetic: Shape
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    rows = json.loads(report(folder, "--json").output)
    assert len(rows) == 6
    assert rows[0]["stack.router.config"] == "none"
    assert rows[0]["valid"] is True
    assert not (folder / "report.html").exists()


def test_no_such_folder_no_folder_and_nothing_in_it_are_told(tmp_path: Path) -> None:
    assert "does not exist" in refused(report(tmp_path / "nope"), UserError)
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in refused(report(tmp_path / "file"), UserError)
    (tmp_path / "empty").mkdir()
    assert "holds no trial yet" in refused(report(tmp_path / "empty"), UserError)
    assert "no store of kind 'ftp://'" in refused(report("ftp://bucket/x"), UserError)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"failing": lambda _: True}, "6 failed"),
        ({"invalid": lambda _: True}, "0 valid, 6 invalid"),
    ],
    ids=["only failed", "all invalid"],
)
def test_what_can_be_shown_is_shown(
    synthesize: Synthesize, synthetic: Shape, changes: Any, sentence: str
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5, **changes))
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert sentence in result.output
    assert (folder / "report.html").is_file()


def test_damaged_files_are_told_and_the_rest_is_shown(
    synthesize: Synthesize, synthetic: Shape
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5))
    first, second, *_ = sorted(folder.glob("*/"))
    (first / "record.json").write_text("{")
    (second / "requests.parquet").write_bytes(b"half")
    result = report(folder)
    assert result.exit_code == 0, result.output
    assert "5 trials measured" in result.output
    assert f"{first}/record.json: is not a whole JSON document" in result.output
    assert f"{second}/requests.parquet: has 4 bytes" in result.output
    assert "is not a whole JSON document" in (folder / "report.html").read_text()
