"""What is wrong before anything starts: each mistake has its sentence, and nothing is touched."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.stacks.local_site import sites

Place = Any  # the fixture of conftest.py, which is no module that a test may import

PICKER = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: {type}
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: {used}
  - pluginRef: max-score-picker
"""


def refused(place: Place, *arguments: str) -> str:
    """Give what is said, after showing that plan and run refuse alike and touch nothing."""
    planned, ran = place("plan", *arguments), place("run", *arguments)
    assert (planned.code, ran.code) == (2, 2)
    assert planned.out == ran.out == ""
    assert planned.err == ran.err
    assert planned.err.startswith("error: ")
    assert not (place.folder / "results").exists()
    assert list(sites()) == []
    return str(planned.err).removeprefix("error: ")


@pytest.mark.parametrize("name", ["../../x", "a;rm -rf ~"])
def test_a_name_that_is_no_name(place: Place, name: str) -> None:
    assert refused(place, place.write(name=name)) == (
        "e.yaml:1:7: name: must be lower-case letters, digits and dashes, beginning and ending "
        f"with a letter or digit, 53 characters at most, not '{name}'.\n"
    )


def test_a_name_given_on_the_command_line_is_checked_too(place: Place) -> None:
    said = refused(place, place.write(), "--set", "name=../../x")
    assert said.startswith("--set name=../../x: must be lower-case letters, digits and dashes")


def test_a_picker_config_with_an_unknown_plugin(place: Place) -> None:
    text = PICKER.format(type="qeue-scorer", used="queue-scorer")
    (place.folder / "mine.yaml").write_text(text)
    matrix = {"stack.router.config": ["router/none.yaml", "mine.yaml"]}
    assert refused(place, place.write(matrix=matrix)) == (
        "mine.yaml:5:9: plugin type 'qeue-scorer' is unknown; did you mean 'queue-scorer'?\n"
    )


def test_a_picker_config_that_uses_an_undeclared_plugin(place: Place) -> None:
    text = PICKER.format(type="prefix-cache-scorer", used="kv-cache-utilization-scorer")
    (place.folder / "mine.yaml").write_text(text)
    stack = {"kind": "simulated", "router": {"config": "mine.yaml"}}
    assert refused(place, place.write(stack=stack)) == (
        "mine.yaml:11:16: pluginRef 'kv-cache-utilization-scorer' names no declared plugin; "
        "did you mean 'prefix-cache-scorer'?\n"
    )


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (
            {"workload.output_lne": [4]},
            "workload.output_lne: is no path of the experiment; "
            "did you mean 'workload.output_len'?",
        ),
        (
            {"workload.output_len": ["four"]},
            "workload.output_len: must be a whole number, not 'four'.",
        ),
        (
            {"workload.output_len": []},
            "workload.output_len: has no levels; list at least one, or remove it.",
        ),
        (
            {"workload.output_len": [4, 5, 4]},
            "workload.output_len: the level '4' is given twice (line 16); its "
            "trials would be measured twice.",
        ),
        (
            {"workload.output_len": [4], "exclude": [{"workload.output_len": 4}]},
            "matrix: no treatment is left: `exclude` removes every one of them.",
        ),
    ],
)
def test_a_matrix_that_cannot_be(place: Place, matrix: dict[str, Any], sentence: str) -> None:
    said = refused(place, place.write(matrix=matrix))
    assert said.startswith("e.yaml:")
    assert said.endswith(f"{sentence}\n")


def test_two_treatments_that_are_the_same_trial(place: Place) -> None:
    matrix = {
        "workload.output_len": [4, 5],
        "include": [
            {"workload.output_len": 6},
            {"workload.output_len": 6, "workload.question_len": 8},
        ],
    }
    said = refused(place, place.write(matrix=matrix))
    assert "matrix: two treatments are the same: (" in said
    assert said.endswith("Remove one of them.\n")


def test_an_empty_matrix_is_a_mistake_and_none_is_a_single_treatment(place: Place) -> None:
    assert refused(place, place.write(matrix={})) == (
        "e.yaml:14:1: matrix: is empty; name a factor, or leave 'matrix' out for a single "
        "treatment.\n"
    )
    said = place("plan", place.write(matrix=None))
    assert said.code == 0
    assert said.out.startswith("small: 1 treatment × 1 replicate = 1 trial in 1 lane\n")


def test_a_file_that_is_not_there(place: Place) -> None:
    stack = {"kind": "simulated", "router": {"config": "router/quue.yaml"}}
    said = refused(place, place.write(stack=stack))
    assert "stack.router.config: the file 'router/quue.yaml' is not there" in said
    assert said.endswith("did you mean 'router/queue.yaml'?\n")
    place.write("experiment.yaml")
    assert refused(place, "experimnt.yaml") == (
        "experimnt.yaml: the file is not there; did you mean 'experiment.yaml'?\n"
    )


def test_a_program_that_is_not_there(place: Place) -> None:
    stack = {"kind": "process", "command": ["no-such-server", "--port", "{port}"]}
    said = place("run", place.write(stack=stack))
    assert said.code == 2
    assert said.err.startswith(
        "error: e.yaml:6:3: stack.command: the program 'no-such-server' was not found; "
        "install it, or write its whole path (PATH is "
    )
    assert not (place.folder / "results").exists()


def test_an_accelerator_that_nobody_knows(place: Place) -> None:
    said = refused(place, place.write(stack={"kind": "simulated", "accelerator": "H1000"}))
    assert said.startswith("e.yaml:4:1: stack: no preset for accelerator 'H1000'; known: H100, ")


def test_prompts_longer_than_the_model_takes(place: Place) -> None:
    """Of every treatment, not only of the first on each stack."""
    matrix = {"workload.question_len": [8, 100_000]}
    said = refused(place, place.write(matrix=matrix))
    assert said == (
        "e.yaml:6:1: workload: prompt and answer take 100004 tokens, "
        "but stack.engine.max_model_len is 32768\n"
    )


SPLIT = "router/prefill-decode.yaml"


@pytest.mark.parametrize(
    ("stack", "matrix", "sentence"),
    [
        (
            {"router": {"config": SPLIT}},
            None,
            "e.yaml:7:5: stack.router.config: '{split}' sends prompts to servers that prefill, and "
            "there are none; set stack.prefill: {{replicas: 1}}, or name another configuration.",
        ),
        (
            {"prefill": {"replicas": 2}},
            None,
            "e.yaml:6:3: stack.prefill: the picker's configuration is none, and sends no prompt to "
            "servers that prefill; name one with a disagg-profile-handler and a decider as "
            "stack.router.config, or leave prefill out.",
        ),
        (
            {"prefill": {}},
            {"stack.router.config": [SPLIT, "router/queue.yaml"]},
            "e.yaml:6:3: stack.prefill: the picker's configuration is 'router/queue.yaml', and "
            "sends no prompt to servers that prefill; name one with a disagg-profile-handler and a "
            "decider as stack.router.config, or leave prefill out.",
        ),
    ],
)
def test_a_picker_and_servers_that_split_requests_otherwise(
    place: Place, stack: dict[str, Any], matrix: Any, sentence: str
) -> None:
    file = place.write(stack={"kind": "simulated", **stack}, matrix=matrix)
    assert refused(place, file) == sentence.format(split=SPLIT) + "\n"


def test_a_store_that_is_a_file(place: Place) -> None:
    (place.folder / "results").write_text("mine")
    said = place("run", place.write())
    assert said.code == 3
    assert said.err.splitlines()[-1] == (
        f"error: the store {place.folder}/results: 'small/' could not be listed: "
        "something on the way there is a file, not a folder; choose another store"
    )
    assert (place.folder / "results").read_text() == "mine"
    assert list(sites()) == []


def test_a_store_of_no_known_kind(place: Place) -> None:
    said = place("run", place.write(results={"store": "ftp://host/x"}))
    assert said.code == 2
    assert said.err.startswith("error: there is no store of kind 'ftp://'")
