from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.spec.base import FileText
from llmatrix.spec.paths import every_path, find, keys_of, nearest, why_invalid

SIMULATED = {"stack": frozenset({"simulated"})}


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("stack", ("stack",)),
        ("model.name", ("model", "name")),
        ("stack.router.config", ("stack", "router", "config")),
        ("workload.load.rate", ("workload", "load", "rate")),
        ("workload.load.concurrency", ("workload", "load", "concurrency")),
        ("stack.args", ("stack", "args")),
        ("stack.args.parallel", ("stack", "args", "parallel")),
        ("stack.args.a.b", ("stack", "args", "a.b")),
    ],
)
def test_a_valid_path_has_keys(path: str, keys: tuple[str, ...]) -> None:
    assert keys_of(path) == keys


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "stack.",
        ".stack",
        "stack..kind",
        "run",
        "run.seed",
        "stack.args.",
        "stack.x",
        "stack.router.config.text",
        "workload.output_len.x",
        "Stack",
        "stack.replicas.",
    ],
)
def test_an_invalid_path_has_none(path: str) -> None:
    assert find(path) is None
    with pytest.raises(KeyError):
        keys_of(path)


def test_a_path_of_another_kind_is_no_path_here() -> None:
    assert find("stack.url") is not None
    assert find("stack.url", SIMULATED) is None
    assert why_invalid("stack.url", SIMULATED)[0] == (
        "belongs to stack kind 'endpoint'; this experiment's is 'simulated'"
    )


def test_every_path_that_is_listed_can_be_found() -> None:
    listed = [path for path, _ in every_path()]
    assert len(listed) == len(set(listed))
    assert all(find(path) for path in listed)


def test_a_file_is_the_end_of_its_path() -> None:
    found = find("stack.router.config")
    assert found
    assert FileText in found[1]


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["stack", "args", "router", "x", ""])).map(".".join)
)
def test_any_text_is_a_path_or_told_why_not(path: str) -> None:
    if find(path) is None:
        message, _ = why_invalid(path, {})
        assert message
    else:
        assert ".".join(keys_of(path)) == path


def test_the_nearest_word_minds_neither_case_nor_dashes() -> None:
    assert nearest("Max-Num-Seqs", ["max_num_seqs", "max_model_len"]) == "max_num_seqs"
    assert nearest("zzz", ["max_num_seqs"]) is None
    assert nearest("x" * 100_000, ["max_num_seqs"]) is None
