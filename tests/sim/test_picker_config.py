from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim.filtering import FILTERS
from llmatrix.sim.picker_config import PickerConfigError, load
from llmatrix.sim.picking import PICKERS
from llmatrix.sim.plugin_parameters import duration_s
from llmatrix.sim.plugin_types import Role, Status
from llmatrix.sim.plugins import PLUGINS
from llmatrix.sim.profiles import Disaggregation, Saturation
from llmatrix.sim.scoring import SCORERS

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

    assert [used.type for used in config.primary.scorers] == scorers
    assert config.primary.picker.type == picker


def test_without_profiles_everything_declared_is_in_the_default_one() -> None:
    config = load(
        f"{HEAD}plugins:\n- type: queue-scorer\n- type: random-picker\n"
        "- type: single-profile-handler\n"
    )

    assert (config.primary.name, [u.type for u in config.primary.scorers]) == (
        "default",
        ["queue-scorer"],
    )
    assert (config.primary.picker.type, config.primary.scorers[0].weight) == ("random-picker", 1)


def test_a_profile_without_a_picker_gets_a_declared_one_or_the_highest_score() -> None:
    profile = "schedulingProfiles:\n- name: p\n  plugins:\n  - pluginRef: q\n    weight: 3\n"
    queue = "plugins:\n- name: q\n  type: queue-scorer\n"

    assert load(f"{HEAD}{queue}{profile}").primary.picker.type == "max-score-picker"
    declared = load(f"{HEAD}{queue}- type: random-picker\n{profile}")
    assert (declared.primary.picker.type, declared.primary.scorers[0].weight) == (
        "random-picker",
        3,
    )


def test_parameters_have_the_pickers_defaults_also_in_place_of_nonsense() -> None:
    plain = load(f"{HEAD}plugins:\n- type: prefix-cache-scorer\n").primary.scorers[0].parameters
    given_ = load(
        f"{HEAD}plugins:\n- type: prefix-cache-scorer\n  parameters:\n    autoTune: false\n"
        "    blockSize: 0\n    maxPrefixBlocksToMatch: 10\n    lruCapacityPerServer: -4\n"
    ).primary.scorers[0]

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

    assert config.primary.scorers[0].parameters == {"threshold": 10}
    assert config.primary.scorers[1].parameters["requestTimeout"] == 90.0
    assert config.saturation == Saturation(8, 0.8, 0.15)


PD_EXAMPLE = """\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefill-header-handler
- type: prefix-cache-scorer
- type: prefill-filter
- type: decode-filter
- type: max-score-picker
- type: pd-profile-handler
  parameters: PARAMETERS
DECIDER
schedulingProfiles:
- name: prefill
  plugins:
  - pluginRef: prefill-filter
  - pluginRef: max-score-picker
  - pluginRef: prefix-cache-scorer
    weight: 50
- name: decode
  plugins:
  - pluginRef: decode-filter
  - pluginRef: max-score-picker
  - pluginRef: prefix-cache-scorer
    weight: 50
"""
"""After llm-d's docs/architecture.md."""


@pytest.mark.parametrize(
    ("parameters", "decider", "least"),
    [
        ("{}", "", 0),
        ("{threshold: 10}", "", 10),
        ("{deciderPluginName: d}", "- {name: d, type: always-disagg-pd-decider}", 0),
        ("{deciderPluginName: prefix-based-pd-decider}", "- type: prefix-based-pd-decider", None),
        (
            "{deciderPluginName: prefix-based-pd-decider}",
            "- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}",
            64,
        ),
    ],
)
def test_llm_ds_prefill_and_decode(parameters: str, decider: str, least: int | None) -> None:
    config = load(PD_EXAMPLE.replace("PARAMETERS", parameters).replace("DECIDER", decider))

    assert config.disaggregation == Disaggregation("decode", "prefill", least=least)
    assert [used.type for used in config.primary.filters] == ["decode-filter"]
    assert [used.weight for used in config.named("prefill").scorers] == [50]


def test_the_unified_handler_needs_no_header_handler_and_splits_only_with_a_decider() -> None:
    plugins = "plugins:\n- type: always-disagg-pd-decider\n- type: disagg-profile-handler\n"
    given_ = "  parameters: {deciders: {prefill: always-disagg-pd-decider}}\n"

    assert load(HEAD + plugins + SPLIT_PROFILES).disaggregation == Disaggregation(
        "decode", "prefill", least=None
    )
    assert load(HEAD + plugins + given_ + SPLIT_PROFILES).disaggregation == Disaggregation(
        "decode", "prefill", least=0
    )


SPLIT_PROFILES = (
    "schedulingProfiles:\n- {name: prefill, plugins: []}\n- {name: decode, plugins: []}\n"
)
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
    "profile of an empty name": (
        "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- {name: '', plugins: []}\n",
        6,
        3,
        "no name",
    ),
    "profiles of one name": (
        (
            "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- {name: a, plugins: []}\n"
            "- {name: a, plugins: []}\n"
        ),
        7,
        10,
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
        "plugins:\n- type: data-parallel-profile-handler\n",
        4,
        9,
        "is not simulated: data-parallel ranks",
    ),
    "required parameter": (
        "plugins:\n- type: by-label\n",
        4,
        3,
        "'by-label' needs the parameter 'label'",
    ),
    "list of wrong items": (
        "plugins:\n- {type: by-label, parameters: {label: a, validValues: [b, 1]}}\n",
        4,
        56,
        "must be a list of text",
    ),
    "wrong operator": (
        (
            "plugins:\n- type: label-selector-filter\n"
            "  parameters: {matchExpressions: [{key: a, operator: in, values: [b]}]}\n"
        ),
        5,
        35,
        "an operator of In, NotIn",
    ),
    "operator without values": (
        (
            "plugins:\n- type: label-selector-filter\n"
            "  parameters: {matchExpressions: [{key: a, operator: In}]}\n"
        ),
        5,
        35,
        "In and NotIn need values",
    ),
    "no header handler": (
        f"plugins:\n- type: pd-profile-handler\n{SPLIT_PROFILES}",
        4,
        3,
        "without a prefill-header-handler",
    ),
    "header handler of another profile": (
        (
            "plugins:\n- type: pd-profile-handler\n"
            "- {type: prefill-header-handler, parameters: {prefillProfile: p}}\n"
            f"{SPLIT_PROFILES}"
        ),
        5,
        3,
        "its prefillProfile is 'p', but 'pd-profile-handler' prefills by 'prefill'",
    ),
    "no such profile": (
        (
            "plugins:\n- type: disagg-profile-handler\n"
            "  parameters: {profiles: {decode: decoding}}\n"
            f"{SPLIT_PROFILES}"
        ),
        4,
        3,
        "uses the profile 'decoding', which is not there; did you mean 'decode'",
    ),
    "no such decider": (
        (
            "plugins:\n- type: disagg-profile-handler\n"
            "  parameters: {deciders: {prefill: nobody}}\n"
            f"{SPLIT_PROFILES}"
        ),
        4,
        3,
        "'nobody' is no declared decider",
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

    def of(role: Role) -> set[str]:
        return {kind for kind, plugin in usable.items() if plugin.role is role}

    assert of(Role.SCORER) == set(SCORERS)
    assert of(Role.PICKER) == set(PICKERS)
    assert of(Role.FILTER) == set(FILTERS) - {"context-length-aware"}
    assert of(Role.OTHER) == set()
    assert all(plugin.note for plugin in PLUGINS.values())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("150ms", 0.15), ("1m30s", 90.0), ("1.5h", 5400.0), ("0", 0.0), ("5", None), ("", None)],
)
def test_durations_are_gos(text: str, seconds: float | None) -> None:
    found = duration_s(text)
    assert found == (None if seconds is None else pytest.approx(seconds))
