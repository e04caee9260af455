from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec import source as source_module
from llmatrix.spec.builder import MAX_DEPTH
from llmatrix.spec.nodes import Keys, Node
from llmatrix.spec.source import parse, read_source


def read(text: str) -> Node:
    node = parse(text, lambda line, column: Place("e.yaml", line, column))
    assert node is not None
    return node


def sentences(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return str(caught.value).splitlines()


BROKEN = {
    "a: no": "1:4: a: some YAML readers take 'no' for false; write false, or 'no' in quotes.",
    "on: 1": "1:1: not every YAML reader takes the key 'on' for text; put it in quotes.",
    "a: 1\nb: {c: 1, c: 2}": "2:11: b: the key 'c' is given twice; the first is at line 2.",
    "a: 1\nb: 2\na: 3": "3:1: the key 'a' is given twice; the first is at line 1.",
    "a: !!python/object/apply:os.system [x]": (
        "1:4: a: the tag !!python/object/apply:os.system is not taken here; write a plain value."
    ),
    "a: [1, !env HOME]": "1:8: a[1]: the tag !env is not taken here; write a plain value.",
    "b: {<<: {a: 1}}": (
        "1:5: b: merge keys (<<) are not taken here; write the keys out, or use an alias for "
        "the whole."
    ),
    "? [a]\n: 1": "1:3: a key must be text, not a mapping or a list.",
    "a: 1\n---\nb: 1": "2:1: a second document begins here; one file holds one experiment.",
    "a: 1\n...\nb": "3:1: the document has ended before here; one file holds one experiment.",
    "a:\n\tb: 1": "2:1: a tab is used for indentation; YAML takes spaces only.",
    "a: @x": "1:4: a value cannot begin with '@'; put it in quotes.",
    "a: b: c": "1:5: a ':' is not expected here; check the indentation, or put the text in quotes.",
    "a: 'x": "1:6: the quotes opened at line 1 are not closed.",
    "a: ]": "1:4: a value is expected here.",
    "- a\nb: 1": "2:1: a list item ('- ') is expected here; check the indentation.",
    "a: 1\n- b": "2:1: 'key: value' is expected here; check the indentation.",
    "a: - b": "1:4: a list item ('- ') is not expected here; begin it on a line of its own.",
    'a: "\\q"': None,
    "a: &x [*x]": "1:8: a[0]: *x stands inside of what it names.",
    "a: &base 1\nb: *bse": ("2:4: b: nothing is anchored as &bse before here; did you mean *base?"),
    "a: *b": "1:4: a: nothing is anchored as &b before here.",
    "a: x\0": "1:5: the character U+0000 cannot stand in a text file; remove it.",
    "a: 1\nb: \x1b": "2:4: the character U+001B cannot stand in a text file; remove it.",
    'a: "\\0"': "1:4: a: the text holds the character U+0000; remove it.",
}


@pytest.mark.parametrize(("text", "sentence"), BROKEN.items())
def test_each_trick_ends_in_one_sentence(text: str, sentence: str | None) -> None:
    (found,) = sentences(text)
    if sentence is None:
        assert "this escape is unknown in double quotes" in found
    else:
        assert found == f"e.yaml:{sentence}"


@pytest.mark.parametrize("text", ["a: [1", "a: {b: 1", "a: [1\nb: 2\n"])
def test_an_open_bracket_is_told_where_it_was_opened(text: str) -> None:
    (found,) = sentences(text)
    assert "opened at line 1 is not closed" in found


def test_every_problem_of_a_text_is_told() -> None:
    assert len(sentences("a: no\nb: 010\nb: !x 1\nc: [yes, off]")) == 6


def test_both_of_pyyamls_parsers_end_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions may differ by a few columns; what is said does not."""
    words = {text: sentences(text)[0].split(": ")[-1] for text in BROKEN}
    monkeypatch.setattr(source_module, "_PARSER", yaml.SafeLoader)
    assert {text: sentences(text)[0].split(": ")[-1] for text in BROKEN} == words


def bomb(levels: int) -> str:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(rows)


def test_a_billion_laughs_end_in_one_sentence() -> None:
    (found,) = sentences(bomb(9))
    assert "the document comes to more than 250,000 values up to here" in found


def test_a_long_text_repeated_by_aliases_counts_by_its_length() -> None:
    text = "a: &a " + "x" * 1_000_000 + "\nb: [" + ", ".join(["*a"] * 50) + "]"
    assert "comes to more than 250,000 values" in sentences(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 200_000,
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "\n".join(f"{' ' * n}a:" for n in range(MAX_DEPTH + 2)),
        "a0: &a0 [1]\n" + "\n".join(f"a{n + 1}: &a{n + 1} [*a{n}]" for n in range(3000)),
    ],
    ids=["unclosed", "flow", "block", "aliases"],
)
def test_nesting_without_end_ends_in_one_sentence(text: str) -> None:
    (found,) = sentences(text)
    assert "mappings and lists are nested more than 64 deep." in found


def test_nesting_up_to_the_limit_is_taken() -> None:
    read("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_aliases_are_followed_and_stand_where_they_are_used() -> None:
    root = read("a: &x {b: 1}\nc: *x\n")
    assert root.plain() == {"a": {"b": 1}, "c": {"b": 1}}
    assert root.place_of(("c",)) == Place("e.yaml", 2, 4)
    assert root.place_of(("c", "b")) == Place("e.yaml", 1, 11)


def test_a_path_that_ends_early_stands_where_the_rest_is_missing() -> None:
    root = read("a:\n  b: [p, q]\n")
    assert root.place_of(("a", "b", 1)) == Place("e.yaml", 2, 10)
    assert root.place_of(("a", "b"), key=True) == Place("e.yaml", 2, 3)
    assert root.place_of(("a", "z")) == Place("e.yaml", 1, 1)
    assert root.place_of(("z",)) == Place("e.yaml", 1, 1)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "e.yaml: the file is empty; `llmatrix init` writes one to begin with."),
        (b"# nothing\n", "e.yaml: the file is empty; `llmatrix init` writes one to begin with."),
        (b"null", "e.yaml: the file is empty; `llmatrix init` writes one to begin with."),
        (b"- a", "e.yaml:1:1: an experiment is a mapping (key: value), not a list."),
        (b"words", "e.yaml:1:1: an experiment is a mapping (key: value), not 'words'."),
        (b"a: 1\nb: \xff", "e.yaml:2:4: the file is not UTF-8 text; save it as UTF-8."),
        ("a: 1".encode("utf-16"), "e.yaml:1:1: the file is not UTF-8 text; save it as UTF-8."),
        (b" " * (4 * 1024 * 1024 + 1), "e.yaml: the file is larger than 4 MiB."),
    ],
)
def test_a_file_that_is_no_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.yaml").write_bytes(data)
    with pytest.raises(SpecError) as caught:
        read_source(Path("e.yaml"))
    assert str(caught.value) == sentence


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "pipe": "the file is a pipe, socket or device, not a file.",
        ".": "the file is a folder, not a file.",
        "gone.yaml": "the file is not there.",
        "x" * 300: "the file cannot be read: file name too long.",
        "a\0b": "the file is no possible file name.",
    }.items():
        with pytest.raises(SpecError) as caught:
            read_source(tmp_path / name)
        assert str(caught.value).endswith(words)
    with pytest.raises(SpecError, match="is a pipe, socket or device"):
        read_source(Path("/dev/zero"))


def test_a_byte_order_mark_is_no_character_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_source(path).root.plain() == {"a": 1}


# PyYAML writes some texts unquoted that another reader takes for a number or a boolean, and folds
# line breaks of YAML 1.1 that are none in 1.2.
words = st.text(
    st.characters(exclude_categories=["Cs", "Nd"], exclude_characters="\0\x85\u2028\u2029"),
    max_size=8,
).filter(lambda text: text.lower() not in {"y", "n"})
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc.-_ é", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


def paths(data: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    yield keys, data
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, inner in items if isinstance(data, (dict, list)) else ():
        yield from paths(inner, (*keys, key))


@given(data=plain, flow=st.sampled_from([True, False, None]))
def test_what_is_written_is_read_back(data: Any, *, flow: bool | None) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True, width=60)
    assert read(text).plain() == data


@given(plain)
def test_every_scalar_stands_where_its_place_says(data: Any) -> None:
    """With scalars made unique, the text at a scalar's place is the scalar."""
    marks: list[str] = []

    def mark(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: mark(value) for key, value in inner.items()}
        if isinstance(inner, list):
            return [mark(value) for value in inner]
        marks.append(f"v{len(marks)}v")
        return marks[-1]

    marked = mark(data)
    text = yaml.safe_dump(marked, default_flow_style=None, width=60)
    lines = text.splitlines()
    root = read(text)
    for keys, value in paths(marked):
        if isinstance(value, str):
            place = root.place_of(keys)
            assert place.line
            assert place.column
            assert lines[place.line - 1][place.column - 1 :].startswith(value)


def judged(text: str) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        parse(text, lambda line, column: Place("e.yaml", line, column))
    except SpecError as error:
        problems = error.problems or (Problem(Place("nothing said"), "", ""),)
    assert all(str(problem).endswith((".", "?")) for problem in problems)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_ends_in_anything_but_a_spec_error(text: str) -> None:
    judged(text)


@given(st.text(alphabet="ab: -[]{},&*!|>'\"\n\t#?%@~<.01", max_size=60))
def test_no_punctuation_ends_in_anything_but_a_spec_error(text: str) -> None:
    judged(text)
