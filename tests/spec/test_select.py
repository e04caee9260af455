from __future__ import annotations

from collections.abc import Callable

import pytest

from llmatrix.errors import SpecError
from llmatrix.spec.load import Loaded
from llmatrix.spec.select import select

Load = Callable[..., Loaded]


@pytest.fixture
def loaded(load_text: Load, text: str) -> Loaded:
    return load_text(
        text.replace(
            "  exclude: [",
            "  workload.load: [{name: 'a,b', value: {rate: 5}}, {rate: 50}]\n"
            "  include: [{workload.groups: 4}, {workload.output_len: 500}]\n"
            "  exclude: [",
        )
    )


def test_nothing_chosen_is_everything(loaded: Loaded) -> None:
    assert select(loaded, []) == {}


def test_levels_are_chosen_by_label(loaded: Loaded) -> None:
    chosen = select(
        loaded,
        ["config=queue", "workload.output_len=100,300", "output_len=500", "load=a,b", "groups=4"],
    )
    assert chosen == {
        "stack.router.config": frozenset({"queue"}),
        "workload.output_len": frozenset({"100", "300", "500"}),
        "workload.load": frozenset({"a,b"}),
        "workload.groups": frozenset({"4"}),
    }


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("config=quue", "'quue' is no level of stack.router.config; did you mean 'queue'?"),
        (
            "config=zzz",
            "'zzz' is no level of stack.router.config; its levels are 'none' and 'queue'.",
        ),
        (
            "router.confg=none",
            "'router.confg' is no factor of this experiment; did you mean 'stack.router.config'?",
        ),
        ("x", "chooses nothing; write --only factor=label, without spaces."),
        ("config=", "chooses nothing; write --only factor=label, without spaces."),
        (
            "config=queue,",
            "'' is no level of stack.router.config; its levels are 'none' and 'queue'.",
        ),
    ],
)
def test_what_is_no_choice(loaded: Loaded, option: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        select(loaded, [option])
    assert str(caught.value) == f"--only {option}: {sentence}"


def test_an_ambiguous_end_of_a_path(load_text: Load, text: str) -> None:
    matrix = "matrix:\n  stack.kind: [simulated]\n  workload.kind: [shared-prefix]\n"
    before, _, after = text.partition("matrix:")
    loaded = load_text(f"{before}{matrix}replicates:{after.partition('replicates:')[2]}")
    with pytest.raises(SpecError) as caught:
        select(loaded, ["kind=simulated", "nix=1"])
    assert str(caught.value).splitlines() == [
        (
            "--only kind=simulated: 'kind' may mean 'stack.kind' or 'workload.kind'; write more "
            "of the path."
        ),
        (
            "--only nix=1: 'nix' is no factor of this experiment; its factors are 'stack.kind' and "
            "'workload.kind'."
        ),
    ]


def test_no_factors_no_choice(load_text: Load, text: str) -> None:
    before, _, after = text.partition("matrix:")
    loaded = load_text(f"{before}replicates:{after.partition('replicates:')[2]}")
    with pytest.raises(SpecError, match="this experiment has no factors to choose from"):
        select(loaded, ["a=b"])
