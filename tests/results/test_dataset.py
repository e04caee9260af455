from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.columns import REQUEST_COLUMNS
from llmatrix.results.dataset import Dataset, load
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, PlannedTrials, write_manifest
from llmatrix.results.query import query
from llmatrix.results.record import Record, StoredFile
from llmatrix.results.records import amend_record, read_record, write_record

Synthesize = Callable[[Any], Path]


def load_folder(folder: Path) -> Dataset:
    return load(FolderStore(folder.parent), folder.name)


def test_trials_are_one_row_each_with_every_column(
    synthesize: Synthesize, synthetic: Callable[..., Any]
) -> None:
    shape = synthetic(replicates=2, requests=20, invalid=lambda number: number == 3)
    data = load_folder(synthesize(shape))
    table = data.trials()
    assert table.num_rows == 12
    row = table.to_pylist()[3]
    assert row["valid"] is False
    assert row["invalid_because"] == "dispatch_lag_ms_p99 12.5 (<= 5 ms)"
    assert row["stack.router.config"] == "none"
    assert row["workload.question_len"] == "1000"
    assert row["replicate_workload"] == 1
    assert row["ttft_ms_p99"] is None
    assert row["seconds_workload"] == 15.0
    assert row["outcome_server"] == "unchanged"
    assert row["check_dispatch_lag_ms_p99"] == "fail"
    assert data.problems == ()


def test_requests_are_joined_with_their_trial(
    synthesize: Synthesize, synthetic: Callable[..., Any]
) -> None:
    data = load_folder(synthesize(synthetic(replicates=1, requests=50)))
    with data.connect() as connection:
        rows = connection.execute(
            'SELECT "workload.question_len" AS q, count(*), count(DISTINCT trial) '
            "FROM requests JOIN trials USING (trial) GROUP BY q ORDER BY q"
        ).fetchall()
        first = connection.execute("SELECT * FROM requests LIMIT 0").description
    assert rows == [("100", 150, 3), ("1000", 150, 3)]
    assert first is not None
    assert [column[0] for column in first][:2] == ["trial", "request"]
    assert "filename" not in {column[0] for column in first}


@pytest.mark.parametrize("which", [0, 1, -1], ids=["oldest", "middle", "newest"])
def test_files_of_an_earlier_version_lack_columns_and_are_read_all_the_same(
    synthesize: Synthesize, synthetic: Callable[..., Any], which: int
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=50))
    data = load_folder(folder)
    trial = data.records[which].trial
    path = folder / trial / "requests.parquet"
    whole = parquet.read_table(path)
    parquet.write_table(whole.drop_columns(["cached_tokens", "server"]), path)
    record = read_record(FolderStore(folder.parent), folder.name, trial)
    files = {"requests.parquet": StoredFile(bytes=path.stat().st_size, sha256="0" * 64)}
    amend_record(FolderStore(folder.parent), record.model_copy(update={"files": files}))
    data = load_folder(folder)
    answer = query(
        data.tables(), "SELECT count(*), count(server), any_value(cached_tokens) FROM requests"
    )
    assert answer.rows == ((300, 0, None),)
    every = query(data.tables(), "SELECT * FROM requests LIMIT 1")
    assert set(every.columns[1:]) == set(REQUEST_COLUMNS)
    with data.connect() as connection:
        assert connection.execute("SELECT count(DISTINCT trial) FROM requests").fetchall() == [(6,)]


def test_a_condition_on_the_trial_opens_no_other_file(
    synthesize: Synthesize, synthetic: Callable[..., Any]
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=50))
    data = load_folder(folder)
    wanted = data.records[3].trial
    sql = f"SELECT count(*) FROM requests WHERE trial = '{wanted}'"  # noqa: S608 - our own id
    for record in data.records[1:-1]:
        if record.trial != wanted:
            path = folder / record.trial / "requests.parquet"
            path.write_bytes(b"PAR1" + b"x" * (path.stat().st_size - 8) + b"PAR1")
    assert query(data.tables(), sql).rows == ((50,),)


def test_an_experiment_without_requests_has_an_empty_table(
    tmp_path: Path, synthetic: Callable[..., Any], record_of: Callable[..., Record]
) -> None:
    store = FolderStore(tmp_path)
    write_record(store, record_of(synthetic(name="e"), 0, {}, 0), {})
    data = load(store, "e")
    with data.connect() as connection:
        assert connection.execute("SELECT count(*), count(ttft_ms) FROM requests").fetchall() == [
            (0, 0)
        ]
    assert "is missing" in data.request_problems()[0]


@pytest.mark.parametrize("damage", ["torn", "same size"])
def test_torn_requests_are_told_and_the_others_are_read(
    synthesize: Synthesize, synthetic: Callable[..., Any], damage: str
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=20))
    victim = next(folder.glob("*/requests.parquet"))
    content = victim.read_bytes()
    victim.write_bytes(content[:-50] if damage == "torn" else content[:-50] + b"x" * 50)
    data = load_folder(folder)
    (problem,) = data.request_problems()
    assert str(victim) in problem
    with data.connect() as connection:
        assert connection.execute("SELECT count(DISTINCT trial) FROM requests").fetchall() == [(5,)]


def test_unreadable_records_are_told_and_the_rest_is_shown(
    synthesize: Synthesize, synthetic: Callable[..., Any]
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5, failing=lambda number: number == 2))
    first, second, third, *_ = sorted(folder.glob("*/record.json"))
    first.write_text("{")
    second.write_text('{"version": 9}')
    third.write_text('{"hello": 1}')
    (folder / "experiment.json").write_text("nonsense")
    (folder / "notes.txt").write_text("a stray file")
    data = load_folder(folder)
    assert len(data.records) == 2
    assert len(data.failures) == 1
    assert len(data.problems) == 4
    assert data.manifest is None


def test_an_unknown_experiment_is_empty(tmp_path: Path) -> None:
    data = load(FolderStore(tmp_path), "nothing")
    assert (data.records, data.failures, data.problems, data.factors) == ((), (), (), ())
    assert data.trials().num_rows == 0


def test_planned_trials_without_a_result_are_missing(
    synthesize: Synthesize, synthetic: Callable[..., Any]
) -> None:
    folder = synthesize(synthetic(replicates=1, requests=5, failing=lambda number: number == 0))
    there = [path.name for path in folder.iterdir()]
    plan = PlannedTrials(trials=[*there, "x" * 20])
    write_manifest(FolderStore(folder.parent), Manifest(name=folder.name, plan=plan))
    assert load_folder(folder).missing == ("x" * 20,)


class Amended:
    """Records of one experiment whose file was changed between runs."""

    def __init__(self, root: Path, shape: Any, record_of: Callable[..., Record]) -> None:
        self.store = FolderStore(root)
        self.shape = shape
        self.record_of = record_of

    def add(self, number: int, levels: dict[str, str], **changes: Any) -> str:
        record = self.record_of(self.shape, number, levels, 0, trial=f"{number:020}", **changes)
        write_record(self.store, record, {})
        return record.trial

    def load(self) -> Dataset:
        return load(self.store, self.shape.name)


@pytest.fixture
def amended(
    tmp_path: Path, synthetic: Callable[..., Any], record_of: Callable[..., Record]
) -> Amended:
    return Amended(tmp_path, synthetic(name="e"), record_of)


def test_a_record_takes_a_later_factor_from_its_document(amended: Amended) -> None:
    document = {"stack": {"router": {"config": {"text": "kind: kv"}}, "replicas": 4}}
    old = amended.add(0, {}, document=document)
    new = amended.add(
        1,
        {"stack.router.config": "kv", "stack.replicas": "8"},
        document={"stack": {"router": {"config": {"text": "kind: kv"}}, "replicas": 8}},
    )
    lacking = amended.add(2, {}, document={"stack": {}})
    data = amended.load()
    assert data.factors == ("stack.router.config", "stack.replicas")
    assert data.levels[old] == {"stack.router.config": "kv", "stack.replicas": "4"}
    assert data.levels[new]["stack.replicas"] == "8"
    assert data.levels[lacking] == {"stack.router.config": None, "stack.replicas": None}


def test_what_else_differs_between_equal_levels_is_a_factor_too(amended: Amended) -> None:
    levels = {"workload.question_len": "100"}
    first = amended.add(0, levels, document={"workload": {"question_len": 100, "duration": 10}})
    second = amended.add(1, levels, document={"workload": {"question_len": 100, "duration": 30}})
    newer = amended.add(
        2,
        levels,
        document={"workload": {"question_len": 100, "duration": 30}},
        versions={"harness": "native-2", "stack": "simulated-1"},
    )
    data = amended.load()
    assert data.factors == ("workload.question_len", "workload.duration", "versions.harness")
    assert data.levels[first]["workload.duration"] == "10"
    assert data.levels[second]["versions.harness"] == "native-1"
    assert data.levels[newer]["versions.harness"] == "native-2"


def test_a_changed_file_is_told_apart_by_its_hash(amended: Amended) -> None:
    levels = {"stack.router.config": "kv.yaml"}
    amended.add(0, levels, document={"stack": {"router": {"config": {"text": "a: 1\n"}}}})
    amended.add(1, levels, document={"stack": {"router": {"config": {"text": "a: 2\n"}}}})
    data = amended.load()
    assert data.factors == ("stack.router.config", "stack.router.config.text")
    labels = {part["stack.router.config.text"] for part in data.levels.values()}
    assert len(labels) == 2
    assert all(label is not None and label.startswith("sha256:") for label in labels)


def test_checks_and_metrics_of_any_record_are_columns(amended: Amended) -> None:
    amended.add(0, {}, checks=[Check("one", 1.0, "<= 2", Verdict.WARN)], metrics={"a": 1.0})
    amended.add(1, {}, checks=[Check("two", None, "true", Verdict.UNKNOWN)], metrics={"b": None})
    rows = amended.load().trials().to_pylist()
    assert [row["check_one"] for row in rows] == ["warn", None]
    assert [row["check_two"] for row in rows] == [None, "unknown"]
    assert [row["a"] for row in rows] == [1.0, None]
