from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim import picker_config
from llmatrix.sim.picker_config import PickerConfigError, Saturation, load
from llmatrix.sim.plugins import PLUGINS, Role, Status
from llmatrix.sim.scoring import _PICKERS, _SCORERS

HEAD = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n"
EXAMPLES = Path(__file__).parents[2] / "examples" / "router"


@pytest.mark.parametrize(
    ("name", "scorers", "picker"),
    [
        ("none", [], "random-picker"),
        ("prefix", ["prefix-cache-scorer"], "max-score-picker"),
        ("kv", ["kv-cache-utilization-scorer"], "max-score-picker"),
        ("queue", ["queue-scorer"], "max-score-picker"),
    ],
)
def test_examples(name: str, scorers: list[str], picker: str) -> None:
    config = load((EXAMPLES / f"{name}.yaml").read_text())

    assert [used.type for used in config.scorers] == scorers
    assert config.picker.type == picker


def test_without_profiles_everything_declared_is_in_the_default_one() -> None:
    config = load(
        f"{HEAD}plugins:\n- type: queue-scorer\n- type: random-picker\n"
        "- type: single-profile-handler\n"
    )

    assert (config.profile, [u.type for u in config.scorers]) == ("default", ["queue-scorer"])
    assert (config.picker.type, config.scorers[0].weight) == ("random-picker", 1)


def test_a_profile_without_a_picker_gets_a_declared_one_or_the_highest_score() -> None:
    profile = "schedulingProfiles:\n- name: p\n  plugins:\n  - pluginRef: q\n    weight: 3\n"
    queue = "plugins:\n- name: q\n  type: queue-scorer\n"

    assert load(f"{HEAD}{queue}{profile}").picker.type == "max-score-picker"
    declared = load(f"{HEAD}{queue}- type: random-picker\n{profile}")
    assert (declared.picker.type, declared.scorers[0].weight) == ("random-picker", 3)


def test_parameters_have_the_pickers_defaults_also_in_place_of_nonsense() -> None:
    plain = load(f"{HEAD}plugins:\n- type: prefix-cache-scorer\n").scorers[0].parameters
    given_ = load(
        f"{HEAD}plugins:\n- type: prefix-cache-scorer\n  parameters:\n    autoTune: false\n"
        "    blockSize: 0\n    maxPrefixBlocksToMatch: 10\n    lruCapacityPerServer: -4\n"
    ).scorers[0]

    assert plain == {
        "autoTune": True,
        "blockSize": 64,
        "maxPrefixBlocksToMatch": 256,
        "lruCapacityPerServer": 31250,
    }
    assert given_.parameters == {**plain, "autoTune": False, "maxPrefixBlocksToMatch": 10}


def test_llm_ds_group_and_scorers_and_the_saturation_detector() -> None:
    config = load(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
        "- type: load-aware-scorer\n  parameters: {threshold: 10}\n"
        "- type: active-request-scorer\n  parameters: {requestTimeout: 1m30s}\n"
        "featureGates: [dataLayer]\n"
        "saturationDetector: {queueDepthThreshold: 8, kvCacheUtilThreshold: 7, "
        "metricsStalenessThreshold: 150ms}\n"
    )

    assert config.scorers[0].parameters == {"threshold": 10}
    assert config.scorers[1].parameters == {"requestTimeout": 90.0}
    assert config.saturation == Saturation(8, 0.8, 0.15)


WRONG = {
    "unknown type": ("plugins:\n- type: queue-scorerx\n", 4, 9, "did you mean 'queue-scorer'"),
    "no type": ("plugins:\n- name: q\n", 4, 3, "no type"),
    "duplicate name": (
        "plugins:\n- type: queue-scorer\n- type: queue-scorer\n",
        5,
        3,
        "'queue-scorer' is used more than once",
    ),
    "undeclared reference": (
        (
            "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: p\n  plugins:\n"
            "  - pluginRef: queue-scorre\n"
        ),
        8,
        16,
        "names no declared plugin; did you mean 'queue-scorer'",
    ),
    "reference without a name": (
        (
            "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: p\n  plugins:\n"
            "  - weight: 1\n"
        ),
        8,
        5,
        "no pluginRef",
    ),
    "profile without a name": (
        "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- plugins: []\n",
        6,
        3,
        "no name",
    ),
    "weight of a wrong type": (
        (
            "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: p\n  plugins:\n"
            "  - {pluginRef: queue-scorer, weight: 1.5}\n"
        ),
        8,
        39,
        "not weight: an integer",
    ),
    "two pickers": (
        "plugins:\n- type: max-score-picker\n- type: random-picker\n",
        5,
        3,
        "has two pickers",
    ),
    "two handlers": (
        "plugins:\n- type: single-profile-handler\n- {name: other, type: single-profile-handler}\n",
        5,
        3,
        "only one profile handler",
    ),
    "two profiles": (
        (
            "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- {name: a, plugins: []}\n"
            "- {name: b, plugins: []}\n"
        ),
        6,
        1,
        "single-profile-handler takes one profile",
    ),
    "profiles of one name": (
        (
            "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- {name: a, plugins: []}\n"
            "- {name: a, plugins: []}\n"
        ),
        6,
        1,
        "profile name 'a' is used more than once",
    ),
    "unknown field": ("pluginz: []\n", 3, 1, "did you mean 'plugins'"),
    "unknown parameter": (
        "plugins:\n- type: prefix-cache-scorer\n  parameters: {blocksize: 64}\n",
        5,
        16,
        "did you mean 'blockSize'",
    ),
    "parameter where there is none": (
        "plugins:\n- type: queue-scorer\n  parameters: {depth: 64}\n",
        5,
        16,
        "it has none",
    ),
    "parameter of a wrong type": (
        "plugins:\n- type: prefix-cache-scorer\n  parameters: {blockSize: large}\n",
        5,
        27,
        "must be an integer",
    ),
    "refused plugin": (
        "plugins:\n- type: pd-profile-handler\n",
        4,
        9,
        "is not simulated: prefill and decode",
    ),
    "refused gate": ("featureGates:\n- flowControl\n", 4, 3, "not simulated"),
    "unknown gate": ("featureGates:\n- datalayer\n", 4, 3, "did you mean 'dataLayer'"),
    "duration": (
        "saturationDetector:\n  metricsStalenessThreshold: 5\n",
        4,
        30,
        "a duration, such as 150ms",
    ),
    "not a list": ("plugins: {}\n", 3, 10, "plugins must be a list"),
    "duplicate field": ("plugins: []\nplugins: []\n", 4, 1, "given twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_place(case: str) -> None:
    text, line, column, message = WRONG[case]

    with pytest.raises(PickerConfigError, match=r"^picker\.yaml:") as caught:
        load(HEAD + text, "picker.yaml")

    first = caught.value.problems[0]
    assert (first.line, first.column) == (line, column), first
    assert message in first.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("[]", "is a mapping"),
        ("plugins: []", "apiVersion is missing"),
        ("apiVersion: inference.networking.x-k8s.io/v1alpha2\nkind: X\n", "apiVersion must be"),
        (f"{HEAD}---\n{HEAD}", "not YAML"),
        (f"{HEAD}plugins: [\n", "not YAML"),
        (f"{HEAD}plugins: &a [*a]\n", "aliases"),
        (f"{HEAD}plugins: {'[' * 100}{']' * 100}\n", "nested deeper"),
        (f"{HEAD}plugins: [{'a,' * 30_000}]\n", "YAML items"),
        (f"{HEAD}# {'x' * 300_000}\n", "longer than"),
        ("\x00", "not YAML"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, message: str) -> None:
    with pytest.raises(PickerConfigError, match=message):
        load(text)


def test_all_that_is_wrong_is_told_at_once_in_order() -> None:
    with pytest.raises(PickerConfigError) as caught:
        load(f"{HEAD}plugins:\n- type: nope\n- type: queue-scorer\n  parameters: {{x: 1}}\n")

    assert [problem.line for problem in caught.value.problems] == [4, 6]


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load(HEAD + text)
    except PickerConfigError as error:
        refused = error.problems
    else:
        return
    assert refused


def test_the_table_names_each_plugin_once_and_all_that_are_modelled_exist() -> None:
    usable = {t: p for t, p in PLUGINS.items() if p.status is not Status.REFUSED}

    assert {t for t, p in usable.items() if p.role is Role.SCORER} == set(_SCORERS)
    assert {t for t, p in usable.items() if p.role is Role.PICKER} == set(_PICKERS)
    assert {t for t, p in usable.items() if p.role is Role.HANDLER} == {"single-profile-handler"}
    assert all(plugin.note for plugin in PLUGINS.values())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("150ms", 0.15), ("1m30s", 90.0), ("1.5h", 5400.0), ("0", 0.0), ("5", None), ("", None)],
)
def test_durations_are_gos(text: str, seconds: float | None) -> None:
    found = picker_config.duration_s(text)
    assert found == (None if seconds is None else pytest.approx(seconds))
