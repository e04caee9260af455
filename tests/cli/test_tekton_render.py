"""``llmatrix tekton render`` as a user calls it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

Place = Any  # the fixture of conftest.py, which is no module that a test may import


def render(place: Place, *options: str, folder: str = "out") -> Any:
    return place("tekton", "render", "e.yaml", "-o", folder, *options)


def test_it_says_the_five_commands(place: Place) -> None:
    place.write()
    said = render(place, "--namespace", "bench", "--image", "example.org/i:1")
    assert said.code == 0, said.err
    commands = said.out.splitlines()
    assert len(commands) == 5
    assert all(line.startswith("kubectl apply -f out/") for line in commands[:3])
    assert commands[3] == "kubectl apply --server-side -f out/pipelinerun-00.yaml"
    (run,) = yaml.safe_load_all((place.folder / "out/pipelinerun-00.yaml").read_text())
    name = run["metadata"]["name"]
    assert commands[4] == f"tkn pipelinerun logs --follow {name} -n bench"
    written = {each.name for each in (place.folder / "out").iterdir()}
    said_files = {word[4:] for line in commands for word in line.split() if word[:4] == "out/"}
    assert written == said_files | {"submitter.yaml"}


def test_only_and_set_are_taken(place: Place) -> None:
    place.write(matrix={"workload.question_len": [10, 20, 30]})
    said = render(
        place, "--namespace", "b", "--only", "question_len=10,20", "--set", "run.parallelism=2"
    )
    assert "wrote 2 trials as 2 PipelineRuns to out" in said.err
    assert "cat out/pipelinerun-*.yaml | kubectl apply --server-side -f -" in said.out


def test_without_a_namespace_it_asks_for_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(place.folder / "none"))
    monkeypatch.setenv("HOME", str(place.folder))
    place.write()
    said = render(place)
    assert said.code == 2
    assert "--namespace NAME" in said.err
    place.write(run={"cluster": {"namespace": "from-the-file"}})
    assert render(place).code == 0


def test_a_name_that_is_no_namespace_is_refused(place: Place) -> None:
    place.write()
    said = render(place, "--namespace", "No/Such")
    assert said.code == 2
    assert "run.cluster.namespace" in said.err


def test_files_of_an_earlier_call_go_and_those_of_others_stay(place: Place) -> None:
    place.write(matrix={"workload.question_len": [10, 20]})
    assert render(place, "--namespace", "b", "--set", "run.parallelism=2").code == 0
    (place.folder / "out/kustomization.yaml").write_text("resources: []\n")
    assert (place.folder / "out/pipelinerun-01.yaml").exists()
    assert render(place, "--namespace", "b").code == 0
    assert not (place.folder / "out/pipelinerun-01.yaml").exists()
    assert (place.folder / "out/kustomization.yaml").exists()


def test_a_file_that_is_not_ours_is_not_overwritten(place: Place) -> None:
    place.write()
    (place.folder / "out").mkdir()
    (place.folder / "out/task.yaml").write_text("theirs: true\n")
    said = render(place, "--namespace", "b")
    assert said.code == 2
    assert "was not made by this verb" in said.err
    assert [each.name for each in (place.folder / "out").iterdir()] == ["task.yaml"]


def test_no_option_can_end_the_comment_on_top(place: Place) -> None:
    place.write()
    value = "model.name=Qwen/Qwen3-8B\nkind: Evil"
    said = render(place, "--namespace", "b", "--set", value)
    if said.code == 0:
        for file in (place.folder / "out").iterdir():
            for document in yaml.safe_load_all(file.read_text()):
                assert document["kind"] != "Evil"
                assert "apiVersion" in document


def test_the_moment_can_be_set(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    assert render(place, "--namespace", "b", folder="one").code == 0
    assert render(place, "--namespace", "b", folder="two").code == 0
    for file in (place.folder / "one").iterdir():
        other = place.folder / "two" / file.name
        assert file.read_text().splitlines()[1:] == other.read_text().splitlines()[1:]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    said = render(place, "--namespace", "b")
    assert said.code == 2
    assert "SOURCE_DATE_EPOCH" in said.err


def test_an_endpoint_of_this_machine_is_warned_of(place: Place) -> None:
    place.write(stack={"kind": "endpoint", "url": "http://127.0.0.1:8000"})
    said = render(place, "--namespace", "b")
    assert said.code == 0
    assert "warning: stack.url http://127.0.0.1:8000 is each pod's own address" in said.err
