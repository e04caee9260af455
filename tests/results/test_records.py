from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmatrix.errors import StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, read_manifest, write_manifest
from llmatrix.results.record import Failure, Outcome, Record, StepOutcome
from llmatrix.results.records import (
    READERS,
    applied_seconds,
    files_under,
    finished,
    read_failure,
    read_record,
    write_failure,
    write_record,
)

DATA = Path(__file__).with_name("data")
LEVELS = {"workload.question_len": "100"}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "results")


@pytest.fixture
def record(synthetic: Callable[..., Any], record_of: Callable[..., Record]) -> Record:
    return record_of(synthetic(name="e"), 0, LEVELS, 0)


@pytest.fixture
def failure(synthetic: Callable[..., Any], failure_of: Callable[..., Failure]) -> Failure:
    return failure_of(synthetic(name="e"), LEVELS, 0)


def test_a_record_comes_back_as_it_was_written(store: FolderStore, record: Record) -> None:
    written = write_record(store, record, {"logs/server.log": b"hello"})
    assert read_record(store, "e", record.trial) == written
    assert written == record.model_copy(update={"files": written.files})
    assert written.files["logs/server.log"].sha256 == hashlib.sha256(b"hello").hexdigest()
    assert written.files["logs/server.log"].bytes == 5
    assert store.get(f"e/{record.trial}/logs/server.log") == b"hello"


def test_files_of_a_folder_are_hashed_as_they_lie(
    store: FolderStore, record: Record, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    (folder / "native").mkdir(parents=True)
    (folder / "native/out.json").write_bytes(b"{}" * 1_000_000)
    written = write_record(store, record, files_under(folder))
    stored = store.get(f"e/{record.trial}/native/out.json")
    assert written.files["native/out.json"].sha256 == hashlib.sha256(stored).hexdigest()


def test_a_record_takes_the_place_of_a_failure(
    store: FolderStore, record: Record, failure: Failure
) -> None:
    write_failure(store, failure)
    assert read_failure(store, "e", record.trial) == failure
    assert finished(store, "e") == set()
    write_record(store, record, {})
    assert finished(store, "e") == {record.trial}
    with pytest.raises(KeyError):
        read_failure(store, "e", record.trial)


def test_a_record_is_the_last_thing_that_is_written(store: FolderStore, record: Record) -> None:
    seen: list[str] = []

    class Watching(FolderStore):
        def put(self, name: str, content: bytes | Path) -> None:
            seen.append(name.rpartition("/")[2])
            super().put(name, content)

    write_record(Watching(Path(store.url)), record, {"requests.parquet": b"1", "b": b"2"})
    assert seen == ["requests.parquet", "b", "record.json"]


def test_when_a_file_cannot_be_kept_an_old_record_does_not_stand_beside_it(
    store: FolderStore, record: Record
) -> None:
    write_record(store, record, {"requests.parquet": b"old"})
    with pytest.raises(StoreFault):
        write_record(store, record, {"requests.parquet": b"new", "x" * 300: b""})
    assert store.get(f"e/{record.trial}/requests.parquet") == b"new"
    assert finished(store, "e") == set()


def test_every_version_has_a_frozen_sample_that_is_still_read(store: FolderStore) -> None:
    for version in READERS:
        content = (DATA / f"record-v{version}.json").read_bytes()
        trial = json.loads(content)["trial"]
        store.put(f"frozen/{trial}/record.json", content)
        record = read_record(store, "frozen", trial)
        assert record.metrics["ttft_ms_p50"] == pytest.approx(66.505187)
        assert record.attempts[0].message == "ended"
        assert record.valid
        assert finished(store, "frozen") == {trial}


def test_the_frozen_failure_is_still_read(store: FolderStore) -> None:
    content = (DATA / "failure-v1.json").read_bytes()
    trial = json.loads(content)["trial"]
    store.put(f"frozen/{trial}/failure.json", content)
    assert read_failure(store, "frozen", trial).attempts[0].step == "server"


def damage(kind: str, whole: bytes) -> bytes:
    document = json.loads(whole)
    changed = {
        "newer": {**document, "version": 7, "more": 1},
        "another trial": {**document, "trial": "f" * 20},
        "lacking": {key: value for key, value in document.items() if key != "metrics"},
        "foreign": {"some": "thing"},
        "a list": [1, 2],
    }
    plain = {"torn": whole[: len(whole) // 2], "empty": b""}
    return plain[kind] if kind in plain else json.dumps(changed[kind]).encode()


@pytest.mark.parametrize(
    ("kind", "sentence", "counts"),
    [
        ("torn", "is not a whole JSON document", False),
        ("empty", "is not a whole JSON document", False),
        ("foreign", "was not written by llmatrix", False),
        ("a list", "was not written by llmatrix", False),
        ("newer", "read it with a newer llmatrix", True),
        ("another trial", "belongs to trial ffff", False),
        ("lacking", "metrics: Field required", False),
    ],
)
def test_a_damaged_record_is_told_and_does_not_count(
    store: FolderStore, record: Record, kind: str, sentence: str, *, counts: bool
) -> None:
    write_record(store, record, {})
    name = f"e/{record.trial}/record.json"
    store.put(name, damage(kind, store.get(name)))
    with pytest.raises(StoreFault, match=sentence) as caught:
        read_record(store, "e", record.trial)
    assert name in str(caught.value)
    assert finished(store, "e") == ({record.trial} if counts else set())


def test_finished_counts_neither_files_alone_nor_the_manifest(
    store: FolderStore, record: Record
) -> None:
    write_manifest(store, Manifest(name="e", seed=3, command=["llmatrix", "run", "a b.yaml"]))
    store.put(f"e/{record.trial}/requests.parquet", b"")
    assert finished(store, "e") == set()
    assert finished(store, "no-such-experiment") == set()


def test_the_manifest_comes_back(store: FolderStore) -> None:
    assert read_manifest(store, "e") is None
    store.put(
        "e/experiment.json",
        b'{"name": "e", "file": "name: e", "slo": {"ttft_p99": 0.5, "itl_p50": null}, '
        b'"seed": 4, "plan": {"trials": ["a"]}, "command": "llmatrix run f", "later": 1}',
    )
    manifest = read_manifest(store, "e")
    assert manifest is not None
    assert (manifest.seed, manifest.plan.trials, manifest.slo["ttft_p99"]) == (4, ["a"], 0.5)
    assert manifest.command_line == "llmatrix run f"
    quoted = Manifest(name="e", command=["llmatrix", "run", "a b.yaml"])
    assert quoted.command_line == "llmatrix run 'a b.yaml'"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"seed": "many"}'])
def test_a_foreign_manifest_is_told(store: FolderStore, content: bytes) -> None:
    store.put("e/experiment.json", content)
    with pytest.raises(StoreFault, match=r"e/experiment\.json: is not what llmatrix writes"):
        read_manifest(store, "e")


WRITER = """
    import itertools, sys
    from pathlib import Path
    from llmatrix.results.folder import FolderStore
    from llmatrix.results.record import Record
    from llmatrix.results.records import write_record
    store = FolderStore(Path(sys.argv[1]))
    record = Record.model_validate_json(Path(sys.argv[2]).read_bytes())
    print("ready", flush=True)
    for number in itertools.count():
        mine = record.model_copy(update={"trial": f"{number % 5:020}"})
        write_record(store, mine, {"requests.parquet": b"%06d" % number * 10_000})
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_every_record_whole_beside_its_own_files(tmp_path: Path) -> None:
    root = tmp_path / "results"
    sample = DATA / "record-v1.json"
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(root), str(sample)]
    moments = np.random.default_rng(5)
    store = FolderStore(root)
    whole = 0
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(moments.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
        for trial in finished(store, "frozen"):
            record = read_record(store, "frozen", trial)
            content = store.get(f"frozen/{trial}/requests.parquet")
            assert record.files["requests.parquet"].sha256 == hashlib.sha256(content).hexdigest()
            whole += 1
    assert whole > 0


def test_earlier_applied_steps_tell_their_median_seconds(
    store: FolderStore, synthetic: Any, record_of: Callable[..., Record]
) -> None:
    for number, seconds in enumerate((2.0, 3.0, 40.0)):
        step = StepOutcome(step=Step.SERVER, outcome=Outcome.APPLIED, seconds=seconds, key="k")
        kept = StepOutcome(step=Step.ROUTER, outcome=Outcome.UNCHANGED, seconds=0.1, key="k")
        record = record_of(synthetic(), number, {"workload.output_len": str(number)}, 0)
        record = record.model_copy(update={"trial": f"{number:020x}", "steps": [step, kept]})
        write_record(store, record, {})
    told = applied_seconds(store, synthetic().name)
    assert told == {"simulated": {Step.SERVER: 3.0}}


def test_an_experiment_without_records_tells_no_seconds(store: FolderStore) -> None:
    assert applied_seconds(store, "never-run") == {}
