"""The sentences in which bad experiment files end. Read them aloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Say = Callable[..., list[str]]


def cases() -> list[tuple[str, str, str]]:
    """Read sentences.txt: what is replaced, by what, and what is said then."""
    text = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.partition("\n\n")[2].split("\n\n")]
    return [
        (old[2:].replace("\\n", "\n"), new[2:].replace("\\n", "\n"), sentence)
        for old, new, sentence in blocks
    ]


@pytest.mark.parametrize(("old", "new", "sentence"), cases())
def test_bad_input_ends_in_one_sentence(
    say: Say, text: str, old: str, new: str, sentence: str
) -> None:
    drop = "exclude" not in old and ("[100, 300]" in old or "[router/none" in old)
    if drop:
        # The exclude entry names levels that these cases change.
        text = "".join(line for line in text.splitlines(keepends=True) if "  exclude:" not in line)
    assert text.count(old) == 1
    assert say(text.replace(old, new)) == [sentence]


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (
            "matrix:",
            (
                "e.yaml:1:1: matrix: is empty; name a factor, or leave 'matrix' out for a "
                "single treatment."
            ),
        ),
        (
            "matrix: {}",
            (
                "e.yaml:1:1: matrix: is empty; name a factor, or leave 'matrix' out for a "
                "single treatment."
            ),
        ),
        ("matrix: [a]", "e.yaml:1:9: matrix: must be a mapping from factor to levels, not a list."),
        ("matrix: {include: []}", "e.yaml:1:1: matrix: has no factor and nothing to include."),
        ("matrix: {exclude: []}", "e.yaml:1:1: matrix: has no factor and nothing to include."),
    ],
)
def test_a_matrix_of_nothing(say: Say, text: str, matrix: str, sentence: str) -> None:
    before, _, after = text.partition("matrix:")
    rest = after.partition("replicates:")[2]
    assert say(f"{matrix}\n{before}replicates:{rest}") == [sentence]


def test_all_problems_of_a_file_are_told_in_the_order_of_its_lines(say: Say, text: str) -> None:
    broken = (
        text.replace("replicas: 4", "replica: 4")
        .replace("rate: 20", "rate: -1")
        .replace("[100, 300]", "[100, x]")
        .replace("seed: 7", "sed: 7")
        .replace("name: pickers", "name: No!")
    )
    lines = [int(sentence.split(":")[1]) for sentence in say(broken)]
    assert lines == [1, 5, 13, 17, 18, 21]


def test_nobody_reads_a_thousand_sentences(say: Say, text: str) -> None:
    levels = ", ".join(f"x{n}" for n in range(1000))
    told = say(text.replace("[100, 300]", f"[{levels}]"))
    assert len(told) == 51
    assert told[-1] == "e.yaml: and 951 more problems."


def test_an_endpoint_must_be_a_url_without_a_password(say: Say, text: str) -> None:
    before, _, after = text.partition("stack:")
    rest = after.partition("workload:")[2].partition("matrix:")[0]
    url = "  url: http://user:secret@host/"
    endpoint = f"{before}stack:\n  kind: endpoint\n{url}\nworkload:{rest}"
    assert say(endpoint) == [
        "e.yaml:5:8: stack.url: must not carry a password; name an api_key_env instead."
    ]
    assert say(endpoint.replace("http://user:secret@host/", "host:80:90")) == [
        "e.yaml:5:8: stack.url: 'host:80:90' is not a URL; write for example http://127.0.0.1:8000."
    ]


def test_the_free_mappings_of_a_process(say: Say, text: str) -> None:
    before, _, after = text.partition("stack:")
    rest = after.partition("workload:")[2].partition("matrix:")[0]
    stack = "  kind: process\n  command: []\n  args: {a: [1]}\n  env: {9a: x, B: 7}\n"
    assert say(f"{before}stack:\n{stack}workload:{rest}") == [
        "e.yaml:5:12: stack.command: must not be empty.",
        "e.yaml:6:13: stack.args.a: must be text, a number or true or false, not a list.",
        (
            "e.yaml:7:9: stack.env.9a: must be the name of an environment variable: letters, "
            "digits and underscores, no digit first, not '9a'."
        ),
        "e.yaml:7:19: stack.env.B: must be text, not 7; put it in quotes.",
    ]
