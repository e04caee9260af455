"""``llmatrix diff`` and ``llmatrix plan --render``, as a user calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

Place = Any  # the fixture of conftest.py, which is no module that a test may import
LLM_D = {"kind": "llm-d", "server": {"simulated": True}}
CONFIGS = ["router/queue.yaml", "router/prefix.yaml"]


def write(place: Place, **sections: Any) -> None:
    workload = {
        "kind": "random",
        "question_len": 16,
        "output_len": 4,
        "prompt": "text",
        "load": {"rate": 5},
        "duration": "4s",
    }
    usual = {
        "model": {"name": "tiny-1B", "tokenizer": "words"},
        "stack": LLM_D,
        "workload": workload,
        "matrix": {"stack.router.config": CONFIGS, "workload.question_len": [10, 20]},
    }
    place.write(**usual | sections)


def changed(diff: str) -> list[str]:
    """Give the files that a diff is about."""
    return [line[6:] for line in diff.splitlines() if line.startswith("+++ b/")]


def files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def test_a_level_of_the_picker_changes_its_configuration_and_nothing_else(place: Place) -> None:
    write(place)
    said = place("diff", "e.yaml", "config=queue", "config=prefix")
    assert said.code == 0, said.err
    assert changed(said.out) == ["router.yaml"]
    assert said.out.splitlines()[0] == "# config=queue → config=prefix"
    lines = said.out.splitlines()
    assert "-    - type: queue-scorer" in lines
    assert "+    - type: prefix-cache-scorer" in lines
    assert said.out.count("# config=queue") == 1  # the same beside either question_len


def test_a_level_of_the_workload_changes_the_workload(place: Place) -> None:
    write(place)
    said = place("diff", "e.yaml", "question_len=10", "question_len=20")
    assert changed(said.out) == ["workload.yaml"]
    assert "-question_len: 10" in said.out
    assert "+question_len: 20" in said.out


def test_changes_that_differ_between_pairs_are_each_shown_with_their_levels(place: Place) -> None:
    matrix = {"stack.router.config": CONFIGS, "stack.server.replicas": [1, 2]}
    write(place, matrix=matrix)
    said = place("diff", "e.yaml", "replicas=1", "replicas=2", "--only", "config=queue")
    assert changed(said.out) == ["server.yaml"]
    assert "-  replicas: 1\n+  replicas: 2\n" in said.out


def test_another_kind_of_stack_is_compared_as_it_is_described(place: Place) -> None:
    urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    write(place, stack={"kind": "endpoint"}, matrix={"stack.url": urls})
    said = place("diff", "e.yaml", f"url={urls[0]}", f"url={urls[1]}")
    assert changed(said.out) == ["stack.yaml"], said.err


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ("config=queu", "config=prefix", "did you mean 'queue'?"),
        ("config=queue", "question_len=10", "no treatment with config=queue has one with"),
    ],
)
def test_sides_that_cannot_be_compared_are_told(place: Place, a: str, b: str, told: str) -> None:
    matrix: dict[str, Any] = {
        "include": [
            {"stack.router.config": "router/queue.yaml", "workload.question_len": 20},
            {"stack.router.config": "router/prefix.yaml", "workload.question_len": 10},
        ]
    }
    matrix = {**matrix, "workload.output_len": [4]}
    write(place, matrix=matrix if "question_len" in b else {"stack.router.config": CONFIGS})
    said = place("diff", "e.yaml", a, b)
    assert said.code == 2
    assert told in said.err


def test_every_manifest_of_every_deployment_is_written_the_same_each_time(place: Place) -> None:
    write(place)
    assert place("plan", "e.yaml", "--render", "one").code == 0
    assert place("plan", "e.yaml", "--render", "two").code == 0
    one = files(place.folder / "one")
    assert one == files(place.folder / "two")
    assert {name.partition("/")[0] for name in one} == {"01-config=queue", "02-config=prefix"}
    layers = {name.partition("/")[2] for name in one}
    assert layers == {"gateway.yaml", "router.yaml", "server.yaml"}
    kinds = {each["kind"] for text in one.values() for each in yaml.safe_load_all(text)}
    assert {"Deployment", "Service", "InferencePool", "ConfigMap", "Role"} <= kinds
    for text in one.values():
        for each in yaml.safe_load_all(text):
            assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "llmatrix"


def test_simulated_stacks_are_written_too(place: Place) -> None:
    place.write()
    assert place("plan", "e.yaml", "--render", "out").code == 0
    assert {Path(name).name for name in files(place.folder / "out")} == {
        "router.yaml",
        "server.yaml",
    }


def test_files_of_an_earlier_call_go_and_those_of_others_stay(place: Place) -> None:
    write(place)
    assert place("plan", "e.yaml", "--render", "out").code == 0
    (place.folder / "out/02-config=prefix/notes.txt").write_text("mine")
    said = place("plan", "e.yaml", "--render", "out", "--only", "config=queue")
    assert said.code == 0
    assert "wrote the manifests of 1 deployment to out" in said.err
    left = set(files(place.folder / "out"))
    assert "02-config=prefix/notes.txt" in left
    assert "02-config=prefix/router.yaml" not in left
    (place.folder / "out/01-config=queue/router.yaml").write_text("theirs: true\n")
    said = place("plan", "e.yaml", "--render", "out")
    assert said.code == 2
    assert "was not made by this verb" in said.err
    assert "theirs" in (place.folder / "out/01-config=queue/router.yaml").read_text()
