from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmatrix.errors import UserError
from llmatrix.spec.load import Loaded, load

Load = Callable[..., Loaded]
Say = Callable[..., list[str]]


def test_any_part_of_the_document_can_be_set(load_text: Load, text: str) -> None:
    loaded = load_text(
        text,
        [
            "name=other",
            "run.retries=0",
            "run.budget.time=1h",
            "stack.replicas=8",
            "stack.replicas=16",
            "workload.load={concurrency: 4}",
            "workload.duration=1m",
            "results.store='elsewhere/'",
            "matrix.workload.output_len=[7]",
            "matrix.exclude=[]",
        ],
    )
    assert loaded.experiment.name == "other"
    assert loaded.experiment.run.retries == 0
    assert loaded.experiment.run.budget.time == 3600
    assert loaded.experiment.results.store == "elsewhere/"
    assert loaded.base["stack"]["replicas"] == 16
    assert loaded.base["workload"]["load"] == {"concurrency": 4}
    assert [level.value for level in loaded.factors[1].levels] == [7]
    assert loaded.exclude == ()


def test_a_file_is_still_seen_from_the_experiment(load_text: Load, text: str) -> None:
    loaded = load_text(text, ["matrix.stack.router.config=[router/none.yaml]", "matrix.exclude=[]"])
    assert loaded.factors[0].levels[0].value["text"] == "plugins: [none]\n"


def test_an_item_of_a_list_can_be_set(load_text: Load, text: str) -> None:
    options = [
        "stack={kind: process, command: [a, b]}",
        "stack.command.1=c",
        "stack.args.n.x=3",
        "matrix={workload.seed: [1]}",
    ]
    loaded = load_text(text, options)
    assert loaded.base["stack"]["command"] == ["a", "c"]
    assert loaded.base["stack"]["args"] == {"n.x": 3}


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "stack.replica=2",
            "is not known for stack kind 'simulated'; did you mean 'replicas'?",
        ),
        ("stack.replicas=many", "must be a whole number, not 'many'."),
        ("stak.replicas=2", "'stak' is no part of an experiment; did you mean 'stack'?"),
        ("run.seed=no", "some YAML readers take 'no' for false; write false, or 'no' in quotes."),
        ("run.seed=", "has no value; write null, or '' for no text."),
        ("run.seed", "is no override; write --set path=value, without spaces."),
        ("=3", "is no override; write --set path=value, without spaces."),
        ("run={seed: [", "a value is expected here."),
        ("run.seed.x=1", "run.seed is no mapping; set run.seed whole."),
        ("run={seed: 1, seed: 2}", "the key 'seed' is given twice."),
        (
            "workload.output_len=5",
            (
                "would change nothing, since the matrix varies workload.output_len; set its levels "
                "(--set 'matrix.workload.output_len=[...]'), or choose some "
                "(--only workload.output_len=...)."
            ),
        ),
        (
            "stack.router.config=router/no.yaml",
            (
                "would change nothing, since the matrix varies stack.router.config; set its levels "
                "(--set 'matrix.stack.router.config=[...]'), or choose some "
                "(--only stack.router.config=...)."
            ),
        ),
    ],
)
def test_the_place_of_a_bad_option_is_the_option(
    say: Say, text: str, option: str, sentence: str
) -> None:
    (found,) = say(text, [option])
    assert found == f"--set {option}: {sentence}"


def test_every_bad_option_is_told(say: Say, text: str) -> None:
    assert len(say(text, ["a", "b=1", "run.seed.x=2"])) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(["", "run.", "stack.", "matrix.", "workload.load"]), st.text(), st.text())
def test_no_option_ends_in_anything_but_a_user_error(
    folder: Path, path: str, more: str, value: str
) -> None:
    with contextlib.suppress(UserError):
        load(folder / "e.yaml", overrides=[f"{path}{more}={value}"])
