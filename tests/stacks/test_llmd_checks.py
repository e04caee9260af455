"""What an llm-d stack is refused for before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import SpecError, UserError
from llmatrix.spec.base import FileText
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks.llmd import checks, picker_config
from llmatrix.stacks.llmd.memory import Memory

EXAMPLES = Path(__file__).parents[2] / "examples"
QUEUE = (EXAMPLES / "router/queue.yaml").read_text(encoding="utf-8")
LLM_D = QUEUE.replace("inference.networking.x-k8s.io/v1alpha1", "llm-d.ai/v1alpha1")


def refused(text: str, *more: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        picker_config.check(FileText(text=text, name="p.yaml"), more)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("file", sorted((EXAMPLES / "router").glob("*.yaml")), ids=lambda f: f.name)
def test_the_examples_are_taken(file: Path) -> None:
    picker_config.check(FileText(text=file.read_text(encoding="utf-8")))


def test_both_groups_are_taken_and_no_third() -> None:
    picker_config.check(FileText(text=LLM_D))
    (told,) = refused(LLM_D.replace("llm-d.ai", "llmd.ai"))
    assert told == (
        "p.yaml:2:13: apiVersion must be inference.networking.x-k8s.io/v1alpha1 or "
        "llm-d.ai/v1alpha1"
    )


def test_an_unknown_plugin_is_told_with_the_nearest_name_at_every_place() -> None:
    assert refused(QUEUE.replace("type: queue-scorer", "type: queue-scorerx")) == [
        "p.yaml:5:9: plugin type 'queue-scorerx' is unknown; did you mean 'queue-scorer'?",
        "p.yaml:10:16: pluginRef 'queue-scorer' names no declared plugin; did you mean "
        "'queue-scorerx'?",
    ]


def test_a_plugin_of_the_images_own_is_declared() -> None:
    text = QUEUE.replace("queue-scorer", "zzz")
    (told,) = refused(text)
    assert told.endswith("if the picker's image has it, add it to stack.router.plugins")
    picker_config.check(FileText(text=text), ["zzz"])


def test_plugins_that_cannot_be_simulated_are_taken_here() -> None:
    text = QUEUE.replace("queue-scorer", "precise-prefix-cache-scorer")
    picker_config.check(FileText(text=text))
    assert picker_config.memory(FileText(text=text)) is Memory.PROMPTS
    assert picker_config.memory(FileText(text=QUEUE)) is Memory.NOTHING


@pytest.mark.parametrize("kind", ["no-hit-lru-scorer", "a-plugin-of-the-images-own"])
def test_what_may_remember_more_than_prompts_counts_as_one_that_does(kind: str) -> None:
    text = QUEUE.replace("queue-scorer", kind)
    assert picker_config.memory(FileText(text=text)) is Memory.MORE


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pluginRef: queue-scorer", "pluginRef: kv", "'kv' names no declared plugin; declare it"),
        ("kind: EndpointPickerConfig", "kind: Pod", "kind must be EndpointPickerConfig"),
        ("plugins:\n- type", "pluginz:\n- type", "did you mean 'plugins'?"),
        ("    weight: 1", "    weight: x", "this is not weight: a number"),
        ("    weight: 1", "    wait: 1", "no field 'wait'; did you mean 'weight'?"),
        ("- name: default", "- nane: default", "did you mean 'name'?"),
        ("- type: max-score-picker", "- type: queue-scorer", "is used more than once"),
        ("plugins:\n- type", "featureGates: [dataLayr]\nplugins:\n- type", "mean 'dataLayer'?"),
        ("pluginRef: queue-scorer\n    weight: 1", "pluginRef: max-score-picker", "two pickers"),
        ("plugins:\n- type", "plugins: [\n- type", "not YAML"),
    ],
)
def test_what_the_picker_would_end_with_is_told_before(old: str, new: str, told: str) -> None:
    assert old in QUEUE
    lines = refused(QUEUE.replace(old, new, 1))
    assert any(told in line for line in lines), lines


def test_an_empty_configuration_is_told() -> None:
    assert refused("") == ["p.yaml:1:1: the file is empty"]
    assert "is a mapping" in refused("[]")[0]


STACK: dict[str, Any] = {
    "kind": "llm-d",
    "router": {"config": {"text": QUEUE, "name": "queue.yaml"}},
    "server": {"simulated": True},
}
WORKLOAD = {"kind": "random", "question_len": 16, "output_len": 4, "load": {"concurrency": 1}}


@pytest.fixture
def treatment() -> Callable[..., Treatment]:
    def make(workload: dict[str, Any] | None = None, **stack: Any) -> Treatment:
        return Treatment.model_validate(
            {
                "model": {"name": "tiny-1B", "tokenizer": "words"},
                "stack": STACK | stack,
                "workload": WORKLOAD | (workload or {"prompt": "text"}),
            }
        )

    return make


Make = Callable[..., Treatment]


def test_a_whole_stack_is_taken(treatment: Make) -> None:
    checks.check(treatment())
    checks.check(treatment({"prompt": "token-ids"}, gateway={"mode": "none"}, router={}))


@pytest.mark.parametrize(
    ("workload", "stack", "told"),
    [
        ({"prompt": "token-ids"}, {}, "workload.prompt: endpoint pickers .* set prompt: text"),
        (None, {"router": {}}, "stack.router.config: the endpoint picker needs"),
        (None, {"gateway": {"mode": "none"}}, "no request passes a picker"),
        (
            None,
            {"server": {"preset": "llama-cpp", "image": "llama:1"}},
            "stack.router.metrics: .* set it to llama-cpp",
        ),
        (
            None,
            {"server": {"simulated": True, "engine": {"max_model_len": 8}}},
            "stack.server.engine.max_model_len is 8",
        ),
        (None, {"accelerator": "H1000"}, "H1000"),
    ],
)
def test_layers_that_do_not_go_together_are_told(
    treatment: Make, workload: dict[str, Any] | None, stack: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        checks.check(treatment(workload, **stack))
