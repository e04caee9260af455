"""Every example as Tekton's objects, compared as data with the files beside it.

``LLMATRIX_REWRITE_GOLDEN=1`` writes those files anew. A document that travels is compared by what
it says: how it is compressed differs between versions of zlib.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.plan.document import decode, decode_trials, encode

Place = Any  # the fixture of conftest.py, which is no module that a test may import

EXAMPLES = Path(__file__).parents[2] / "examples"
GOLDEN = EXAMPLES / "tekton"
PLACE = ("--namespace", "bench", "--image", "example.org/llmatrix:1")
RENDERED = {
    "quickstart": ("quickstart.yaml",),
    "endpoint": ("endpoint.yaml",),
    "inference-scheduling": ("inference-scheduling.yaml",),
    "inference-scheduling-matrix": (
        "inference-scheduling.yaml",
        "--set=run.isolation=fresh",
        "--set=run.parallelism=4",
        "--set=replicates=1",
        "--set=results.store=s3://bucket/team",
        "--set=run.queue=gpus",
    ),
    "llm-d-gateway": ("llm-d/gateway.yaml",),
    "llm-d-inference-scheduling": ("llm-d/inference-scheduling.yaml",),
}
"""Folder beside the examples, and the words after ``llmatrix tekton render``."""
ALSO = {
    "llm-d/model-download.yaml": 18,
    "llm-d/prefill-decode.yaml": 81,
    "llm-d/prefix-caching.yaml": 54,
    "llm-d/tensor-parallel.yaml": 36,
    "prefill-decode.yaml": 12,
    "vllm/plain.yaml": 48,
}
"""Examples that are rendered as those are, with no files beside them, and the trials of each."""
CANNOT = {"process.yaml"}
"""Examples that run on this machine only."""


def read(file: Path) -> list[Any]:
    """Read a file of objects, with every document of them taken apart."""
    return [_opened(each) for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("name") in {"trial", "orders"} and str(value.get("value")).startswith("eN"):
            return {**value, "value": decode(value["value"])}
        return {key: _opened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_opened(each) for each in value]
    return value


def test_every_example_that_can_run_on_a_cluster_is_rendered() -> None:
    rendered = {file for file, *_ in RENDERED.values()}
    folders = ("", "llm-d/", "vllm/")
    examples = [file for folder in folders for file in EXAMPLES.glob(f"{folder}*.yaml")]
    assert rendered | CANNOT | set(ALSO) == {str(file.relative_to(EXAMPLES)) for file in examples}
    assert {folder.name for folder in GOLDEN.iterdir()} == set(RENDERED)


@pytest.mark.parametrize("name", RENDERED)
def test_an_example_is_rendered_as_the_files_beside_it(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    file, *options = RENDERED[name]
    (place.folder / file).parent.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / file, place.folder / file)
    said = place("tekton", "render", file, *options, "-o", name, *PLACE)
    assert said.code == 0, said.err
    made, golden = place.folder / name, GOLDEN / name
    if os.environ.get("LLMATRIX_REWRITE_GOLDEN"):
        shutil.rmtree(golden, ignore_errors=True)
        shutil.copytree(made, golden)
    assert {each.name for each in made.iterdir()} == {each.name for each in golden.iterdir()}
    for each in sorted(golden.iterdir()):
        assert read(made / each.name) == read(each), (
            f"{each.name} is not what examples/{file} gives; if it should not be, run this test "
            f"with LLMATRIX_REWRITE_GOLDEN=1"
        )


def test_an_example_that_runs_on_this_machine_only_is_refused(place: Place) -> None:
    shutil.copy(EXAMPLES / "process.yaml", place.folder)
    said = place("tekton", "render", "process.yaml", "-o", "out", *PLACE)
    assert said.code == 2
    assert "process.yaml:15:9: stack.kind: " in said.err
    assert not (place.folder / "out").exists()


@pytest.mark.parametrize("file", ALSO)
def test_an_example_is_rendered_whole(place: Place, file: str) -> None:
    (place.folder / file).parent.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / file, place.folder / file)
    said = place("tekton", "render", file, "-o", "out", *PLACE)
    assert said.code == 0, said.err
    runs = sorted((place.folder / "out").glob("pipelinerun-*.yaml"))
    trials = {
        trial["id"]: trial
        for each in runs
        for document in read(each)
        for trial in _trials(document)
    }
    assert len(trials) == ALSO[file]
    # What a pod does first: a document that says every default must be as good as the user's.
    assert [trial.id for trial in decode_trials(encode([*trials.values()]))] == [*trials]


def _trials(value: Any) -> Iterator[dict[str, Any]]:
    """Give the trials in whatever travels in an object."""
    if isinstance(value, dict):
        if "traffic_seed" in value:
            yield value
        for each in value.values():
            yield from _trials(each)
    elif isinstance(value, list):
        for each in value:
            yield from _trials(each)
