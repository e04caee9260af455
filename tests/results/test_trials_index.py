from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.results import dataset, trials_index
from llmatrix.results.dataset import load, read_tables
from llmatrix.results.folder import FolderStore
from llmatrix.results.records import read_record, write_failure, write_record
from llmatrix.results.tables import Tables
from llmatrix.results.trials_index import open_tables


@pytest.fixture
def experiment(
    synthesize: Callable[[Any], Path],
    synthetic: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An experiment that is worth remembering, and a memory of its own."""
    monkeypatch.setenv("LLMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trials_index, "WORTH_IT", 6)
    return synthesize(synthetic(replicates=1, requests=20))


def opened(folder: Path) -> Tables:
    return open_tables(FolderStore(folder.parent), folder.name)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name every experiment whose records are read."""
    seen: list[str] = []

    def watched(store: Any, experiment: str) -> Tables:
        seen.append(experiment)
        return read_tables(store, experiment)

    monkeypatch.setattr(dataset, "read_tables", watched)
    return seen


def test_what_is_remembered_is_what_was_read(experiment: Path, reads: list[str]) -> None:
    (experiment / "stranger").mkdir()
    (experiment / "stranger" / "record.json").write_text("{}")
    first, second = opened(experiment), opened(experiment)
    assert len(reads) == 1
    assert second.trials.equals(first.trials)
    assert second.trials.schema == first.trials.schema
    assert (second.factors, second.request_bytes) == (first.factors, first.request_bytes)
    assert second.problems == first.problems
    assert len(second.problems) == 1
    with second.connect() as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchall() == [(120,)]


def test_it_is_the_table_that_the_dataset_makes_of_whole_records(
    experiment: Path, failure_of: Callable[..., Any], synthetic: Any, record_of: Callable[..., Any]
) -> None:
    store = FolderStore(experiment.parent)
    # One whose levels lack a factor, one that failed with a factor of its own, three unreadable,
    # one that only the long way reads (a figure as text), and a folder with nothing in it.
    shape = synthetic(name=experiment.name)
    document = {"stack": {"router": {"config": {"text": "kind: kv"}}}}
    write_record(store, record_of(shape, 50, {}, 0, trial="0" * 20, document=document), {})
    levels = {"stack.replicas": "4"}
    write_failure(store, failure_of(shape, levels, 0).model_copy(update={"trial": "1" * 20}))
    first, second, third, fourth, *_ = sorted(experiment.glob("[2-9a-f]*/record.json"))
    first.write_text("{")
    second.write_text('{"version": 9}')
    third.write_text(third.read_text().replace(third.parent.name, "f" * 20))
    fourth.write_text(fourth.read_text().replace('"accelerators": 4', '"accelerators": "4"'))
    (experiment / ("e" * 20)).mkdir()
    (experiment / "experiment.json").write_text("nonsense")
    quick, whole = read_tables(store, experiment.name), load(store, experiment.name).tables()
    assert quick.trials.equals(whole.trials)
    assert quick.trials.num_rows == 4
    assert quick.factors == whole.factors
    assert quick.request_bytes == whole.request_bytes
    assert quick.problems == whole.problems
    assert len(quick.problems) == 4


def test_any_record_that_changes_is_read_anew(experiment: Path, reads: list[str]) -> None:
    store = FolderStore(experiment.parent)
    before = opened(experiment)
    trial = before.trials["trial"][2].as_py()
    record = read_record(store, experiment.name, trial)
    content = (experiment / trial / "requests.parquet").read_bytes()
    write_record(
        store,
        record.model_copy(update={"metrics": {**record.metrics, "ttft_ms_p50": 1.25}}),
        {"requests.parquet": content},
    )
    after = opened(experiment)
    assert after.trials["ttft_ms_p50"][2].as_py() == 1.25
    (experiment / trial / "record.json").unlink()
    assert opened(experiment).trials.num_rows == 5
    assert len(reads) == 3


def test_a_torn_or_foreign_memory_is_no_answer(experiment: Path, reads: list[str]) -> None:
    opened(experiment)
    (memory,) = (experiment.parents[1] / "cache" / "trials").glob("*.arrow")
    memory.write_bytes(memory.read_bytes()[:-20])
    assert opened(experiment).trials.num_rows == 6
    memory.write_bytes(b"nonsense")
    assert opened(experiment).trials.num_rows == 6
    assert len(reads) == 3
    opened(experiment)
    assert len(reads) == 3


def test_a_place_that_cannot_be_written_only_costs_time(
    experiment: Path, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMATRIX_CACHE", str(tmp_path / "file" / "cache"))
    assert opened(experiment).trials.num_rows == 6
    assert opened(experiment).trials.num_rows == 6
    assert len(reads) == 2


def test_few_records_are_not_worth_remembering(
    experiment: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_index, "WORTH_IT", 7)
    opened(experiment)
    opened(experiment)
    assert len(reads) == 2
    assert not (experiment.parents[1] / "cache").exists()
