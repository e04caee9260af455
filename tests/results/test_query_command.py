from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

import llmatrix
from llmatrix.cli.export import command as export
from llmatrix.cli.query import command as query
from llmatrix.columns import REQUEST_COLUMNS
from llmatrix.errors import StoreFault, UserError
from llmatrix.results.data_dictionary import REQUESTS, TRIALS, describe
from llmatrix.results.objects import ObjectStore

MEANS = (
    'SELECT "workload.question_len" AS question, count(*) AS n, avg(ttft_ms_p50) AS ttft '
    "FROM trials WHERE valid GROUP BY question ORDER BY question"
)


def ask(*words: str | Path) -> Result:
    return CliRunner().invoke(query, [str(word) for word in words])


def refused(result: Result) -> str:
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.fixture
def experiment(synthesize: Callable[[Any], Path], synthetic: Callable[..., Any]) -> Path:
    return synthesize(synthetic(replicates=2, requests=30))


def test_an_answer_is_a_table_csv_or_json(experiment: Path) -> None:
    shown = ask(MEANS, experiment).output
    assert "question" in shown
    rows = json.loads(ask(MEANS, experiment, "--json").output)
    assert [(row["question"], row["n"]) for row in rows] == [("100", 6), ("1000", 6)]
    assert f"{rows[0]['ttft']:.6g}" in shown
    told = list(csv.DictReader(io.StringIO(ask(MEANS, experiment, "--csv").output)))
    assert [float(row["ttft"]) for row in told] == [row["ttft"] for row in rows]


def test_requests_are_asked_and_lists_are_json(experiment: Path) -> None:
    sql = "SELECT request, itl_ms, 'NaN'::DOUBLE AS odd FROM requests ORDER BY trial, 1 LIMIT 1"
    (row,) = json.loads(ask(sql, experiment.parent, "--json").output)
    assert (row["request"], len(row["itl_ms"]), row["odd"]) == (0, 20, None)
    (cells,) = list(csv.DictReader(io.StringIO(ask(sql, experiment, "--csv").output)))
    assert json.loads(cells["itl_ms"]) == row["itl_ms"]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("INSERT INTO trials VALUES (1)", r"something else than read \(INSERT\)"),
        ("CREATE TABLE x AS FROM trials", r"something else than read \(CREATE"),
        ("COPY trials TO 'stolen.csv'", r"something else than read \(COPY\)"),
        ("EXPLAIN ANALYZE COPY trials TO 'stolen.csv'", r"something else than read \(EXPLAIN\)"),
        ("ATTACH 'stolen.db'", r"something else than read \(ATTACH\)"),
        ("SET enable_external_access = true", r"something else than read \(SET\)"),
        ("INSTALL httpfs", "something else than read"),
        ("SELECT 1; DROP VIEW trials", "there are 2 statements"),
        ("", "there are 0 statements"),
        ("SELEC 1", "no SQL that DuckDB reads: .*SELEC"),
        ("SELECT nothing FROM trials", "cannot be answered: .*nothing"),
        ("SELECT * FROM read_text('/etc/passwd')", "may only read the tables"),
        ("SELECT * FROM read_csv('https://example.org/x.csv')", "may only read|cannot be answered"),
        ("SELECT * FROM '/etc/passwd'", "may only read|cannot be answered"),
        ("SELECT * FROM glob('/etc/*')", "may only read"),
        ("SELECT * FROM dataset", "cannot be answered: .*dataset"),
    ],
)
def test_a_query_reads_the_tables_and_nothing_else(
    experiment: Path, sql: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ask(sql, experiment)
    with pytest.raises(UserError, match=told):
        raise result.exception or AssertionError(result.output)
    assert not list(tmp_path.glob("stolen*"))
    # The same must not pass by naming `requests`, with which the files come into reach.
    both = ask(f"{sql} -- requests", experiment)
    assert isinstance(both.exception, UserError)


def test_a_store_is_asked_by_its_url(
    experiment: Path,
    object_store: Callable[..., ObjectStore],
    upload_folder: Callable[..., None],
) -> None:
    store = object_store()
    upload_folder(experiment, store)
    sql = "SELECT count(*) AS n, count(DISTINCT trial) AS t FROM requests"
    assert json.loads(ask(sql, store.url, "--json").output) == [{"n": 360, "t": 12}]
    assert "may only read" in refused(ask("SELECT * FROM glob('*') -- requests", store.url))


def test_every_column_is_told(experiment: Path) -> None:
    rows = json.loads(ask("--columns", experiment, "--json").output)
    told = {(row["table"], row["column"]) for row in rows}
    data = llmatrix.load(experiment)
    with data.connect() as connection:
        for table in ("trials", "requests"):
            described = connection.execute(f"FROM {table} LIMIT 0").description or []
            assert {(table, column[0]) for column in described} <= told
    by_name = {row["column"]: row for row in rows}
    assert by_name["ttft_ms_p50"]["unit"] == "ms"
    assert "first event with content" in by_name["ttft_ms_p50"]["meaning"]
    assert by_name["stack.router.config"]["meaning"] == "label of the trial's level of the factor"
    assert by_name["seconds_server"]["unit"] == "s"
    assert all(row["meaning"] for row in rows)
    assert len(list(describe(data.tables()))) == len(rows)


def test_the_dictionary_names_the_columns_in_their_order() -> None:
    assert [column.name for column in REQUESTS] == ["trial", *REQUEST_COLUMNS]
    assert [column.name for column in TRIALS][:2] == ["trial", "valid"]


def test_a_query_without_a_question_or_experiment_is_told(tmp_path: Path) -> None:
    assert "give a question" in ask().output
    assert "does not exist" in refused(ask("SELECT 1", tmp_path / "nope"))


def test_unreadable_records_are_told_beside_the_answer(experiment: Path) -> None:
    next(experiment.glob("*/record.json")).write_text("{")
    result = ask("SELECT count(*) AS n FROM trials", experiment, "--csv")
    assert result.stdout == "n\n11\n"
    assert "warning: " in result.stderr
    assert "is not a whole JSON document" in result.stderr


def write(*words: str | Path) -> Result:
    return CliRunner().invoke(export, [str(word) for word in words])


def test_tables_are_exported_whole(experiment: Path, tmp_path: Path) -> None:
    trials, requests, text = tmp_path / "it's.parquet", tmp_path / "r.parquet", tmp_path / "t.csv"
    result = write(experiment, "--parquet", trials, "--csv", text)
    assert result.output == f"{trials}: 12 rows of trials\n{text}: 12 rows of trials\n"
    assert parquet.read_table(trials).equals(llmatrix.load(experiment).trials())
    rows = list(csv.DictReader(io.StringIO(text.read_text())))
    assert (len(rows), rows[0]["ttft_ms_p99"]) == (12, "")
    assert write(experiment, "--table", "requests", "--parquet", requests).exit_code == 0
    table = parquet.read_table(requests)
    assert (table.num_rows, table.column_names[:2]) == (360, ["trial", "request"])
    assert write(experiment, "--table", "requests", "--csv", tmp_path / "r.csv").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_export_overwrites_nothing_and_tells_what_is_wrong(
    experiment: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there.csv"
    there.write_text("mine")
    assert "is there already" in refused(write(experiment, "--csv", there))
    assert there.read_text() == "mine"
    assert write(experiment, "--csv", there, "--force").exit_code == 0
    assert there.read_text().startswith("trial,valid")
    assert "say where to" in write(experiment).output
    failed = write(experiment, "--parquet", tmp_path / "no/such/x.parquet")
    assert isinstance(failed.exception, StoreFault)
    assert "could not be written" in str(failed.exception)


def test_importing_the_package_is_cheap() -> None:
    heavy = "{'numpy', 'pyarrow', 'duckdb', 'pydantic', 'obstore', 'scipy'}"
    program = f"import sys, llmatrix; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
