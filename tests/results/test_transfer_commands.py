from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmatrix.cli import ls, pull, push, rm
from llmatrix.errors import UserError
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, write_manifest
from llmatrix.results.object_address import Patience, parse
from llmatrix.results.objects import ObjectStore
from llmatrix.results.records import read_record


def call(verb: Any, *words: str | Path) -> Result:
    return CliRunner().invoke(verb.command, [str(word) for word in words], standalone_mode=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def experiment(synthesize: Callable[[Any], Path], synthetic: Callable[..., Any]) -> Path:
    folder = synthesize(synthetic(replicates=2, requests=20, failing=lambda number: number == 5))
    write_manifest(FolderStore(folder.parent), Manifest(name="synthetic", file="name: synthetic"))
    return folder


def test_an_experiment_goes_to_s3_and_comes_back_the_same(
    experiment: Path, object_store: Callable[..., ObjectStore], tmp_path: Path
) -> None:
    url = object_store(fail=0.1, throttle=0.05, cut_up=0.05).url
    there = call(push, experiment, url)
    assert there.return_value == 0, there.output
    assert there.output == f"{url}/synthetic: 12 trials copied; 0 were there already\n"
    again = call(push, experiment, url)
    assert again.output == f"{url}/synthetic: 0 trials copied; 12 were there already\n"
    back = call(pull, f"{url}/synthetic", tmp_path / "back")
    assert back.return_value == 0, back.output
    assert contents(tmp_path / "back/synthetic") == contents(experiment)


def test_what_differs_there_is_left_without_force(experiment: Path, tmp_path: Path) -> None:
    target = tmp_path / "other"
    assert call(push, experiment, target).return_value == 0
    victim = next((target / "synthetic").glob("*/record.json"))
    other = json.loads(victim.read_bytes()) | {"notes": ["measured elsewhere"]}
    victim.write_text(json.dumps(other))
    (target / "synthetic/experiment.json").write_text("{}")
    result = call(push, experiment, target)
    assert result.return_value == 1
    assert f"warning: {victim}: is another one; it stays, without --force" in result.output
    assert "2 differ and were left as they are" in result.output
    assert json.loads(victim.read_bytes()) == other
    forced = call(push, experiment, target, "--force")
    assert forced.return_value == 0, forced.output
    assert contents(target / "synthetic") == contents(experiment)


@pytest.mark.parametrize("damage", ["changed", "missing", "torn record"])
def test_a_damaged_trial_is_told_and_the_others_go(
    experiment: Path, tmp_path: Path, damage: str
) -> None:
    victim = next(experiment.glob("*/requests.parquet"))
    if damage == "changed":
        victim.write_bytes(b"x" + victim.read_bytes()[1:])
    elif damage == "missing":
        victim.unlink()
    else:
        (victim.parent / "record.json").write_text('{"version": 1')
    result = call(push, experiment, tmp_path / "other")
    assert result.return_value == 1
    assert "11 trials copied" in result.output
    assert "1 are damaged and were not copied" in result.output
    assert str(victim.parent) in result.output
    assert not (tmp_path / "other/synthetic" / victim.parent.name).exists()


def test_a_record_of_a_newer_version_is_copied_as_it_is(experiment: Path, tmp_path: Path) -> None:
    record = next(experiment.glob("*/record.json"))
    newer = json.loads(record.read_bytes()) | {"version": 9, "unheard": "of"}
    record.write_text(json.dumps(newer))
    assert call(push, experiment, tmp_path / "other").return_value == 0
    copied = tmp_path / "other/synthetic" / record.parent.name / "record.json"
    assert copied.read_bytes() == record.read_bytes()


def test_a_record_cannot_name_files_outside_the_store(experiment: Path, tmp_path: Path) -> None:
    record = next(experiment.glob("*/record.json"))
    evil = json.loads(record.read_bytes())
    evil["files"]["../../../stolen"] = {"bytes": 1, "sha256": "0"}
    record.write_text(json.dumps(evil))
    result = call(push, experiment, tmp_path / "other")
    assert isinstance(result.exception, UserError)
    assert "cannot be a name in a store" in str(result.exception)


def test_a_measurement_replaces_a_failure_and_not_the_other_way_round(
    experiment: Path, tmp_path: Path
) -> None:
    (failure,) = experiment.glob("*/failure.json")
    trial, target = failure.parent.name, tmp_path / "other"
    call(push, experiment, target)
    assert (target / "synthetic" / trial / "failure.json").is_file()
    measured = next(experiment.glob("*/record.json"))
    record = json.loads(measured.read_bytes()) | {"trial": trial, "files": {}}
    (target / "synthetic" / trial / "record.json").write_text(json.dumps(record))
    (target / "synthetic" / trial / "failure.json").unlink()
    assert call(push, experiment, target, "--force").return_value == 0
    assert not (target / "synthetic" / trial / "failure.json").exists()
    call(push, target / "synthetic", experiment.parent)
    assert not failure.exists()
    assert (experiment / trial / "record.json").is_file()


def test_what_a_store_holds_is_listed(
    experiment: Path, object_store: Callable[..., ObjectStore], tmp_path: Path
) -> None:
    store = object_store()
    call(push, experiment, store.url)
    store.put("another/t/record.json", b"{}")
    (other, held) = json.loads(call(ls, store.url, "--json").output)
    assert (other["experiment"], other["records"]) == ("another", 1)
    size = sum(len(content) for content in contents(experiment).values())
    assert held == {"experiment": "synthetic", "records": 11, "failures": 1, "bytes": size}
    assert "synthetic  11 trials, 1 failed" in call(ls, experiment.parent).output
    (tmp_path / "empty").mkdir()
    assert "holds no experiment" in call(ls, tmp_path / "empty").output
    assert isinstance(call(ls, tmp_path / "nope").exception, UserError)


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_an_experiment_is_removed_only_by_its_own_name_and_with_yes(
    experiment: Path, object_store: Callable[..., ObjectStore], kind: str
) -> None:
    place = str(experiment)
    if kind == "s3":
        place = f"{object_store().url}/synthetic"
        call(push, experiment, place.rpartition("/")[0])
    above = place.rpartition("/")[0]
    asked = call(rm, place)
    assert isinstance(asked.exception, UserError)
    assert "nothing was removed, add --yes" in str(asked.exception)
    assert "name the experiment itself" in str(call(rm, above, "--yes").exception)
    assert json.loads(call(ls, above, "--json").output)[0]["records"] == 11
    gone = call(rm, place, "--yes")
    assert gone.output == f"{place}: 24 files removed\n"
    assert json.loads(call(ls, above, "--json").output) == []
    assert kind == "s3" or not experiment.exists()


@pytest.mark.slow
def test_a_push_killed_again_and_again_arrives_whole(
    experiment: Path, bucket: str, proxy: Callable[..., Any], quick: Patience
) -> None:
    between = proxy(delay_s=0.01)
    url = f"s3://{bucket}/p?endpoint=http://127.0.0.1:{between.port}"
    store = ObjectStore(parse(f"s3://{bucket}/p"), quick)
    command = [sys.executable, "-m", "llmatrix", "push", str(experiment), url]
    for kill in range(4):
        begun, enough = len(between.calls), threading.Event()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as pushing:
            while pushing.poll() is None and len(between.calls) < begun + 20 + 5 * kill:
                enough.wait(0.002)
            pushing.kill()
        for trial in store.folders("synthetic/"):
            try:
                record = read_record(store, "synthetic", trial)
            except KeyError:
                continue
            for name, stored in record.files.items():
                assert stored.matches(store.get(f"synthetic/{trial}/{name}"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert len(load(store, "synthetic").records) == 11
