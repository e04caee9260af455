"""YAML read as nodes with their places, bounded in size, depth and number."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import yaml

MAX_CHARACTERS: Final = 256 * 1024
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 32
_TAG: Final = "tag:yaml.org,2002:"


class _Mark(Protocol):
    """Where PyYAML's readers, in Python or in C, found something; from 0."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing wrong in a file; line and column count from 1."""

    line: int
    column: int
    message: str


class Unreadable(Exception):
    """A text that is no YAML document, or a larger one than is read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def compose(text: str) -> yaml.Node | None:
    """Read the one document of a text; None when there is none.

    Raises:
        Unreadable: it is not YAML, more than one document, or too large; aliases are refused,
            since a small text can mean a huge document by them.
    """
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(Problem(1, 1, f"the file is longer than {MAX_CHARACTERS} characters"))
    try:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            here = _position(event.start_mark)
            if isinstance(event, yaml.AliasEvent):
                raise Unreadable(Problem(*here, "YAML aliases are not read here; write it out"))
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise Unreadable(Problem(*here, f"nested deeper than {MAX_DEPTH} levels"))
            if number > MAX_NODES:
                raise Unreadable(Problem(*here, f"more than {MAX_NODES} YAML items"))
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(Problem(*_position(mark), f"not YAML: {error.problem}")) from None
    except yaml.YAMLError as error:
        detail = str(error).splitlines()[0]
        raise Unreadable(Problem(1, 1, f"not YAML: {detail}")) from None


def place(node: yaml.Node) -> tuple[int, int]:
    """Give a node's line and column, from 1."""
    return _position(node.start_mark)


def _position(mark: _Mark | None) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def is_null(node: yaml.Node) -> bool:
    """Tell whether a node is null or nothing."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def text(node: yaml.Node) -> str | None:
    """Give a string node's value; None for any other node."""
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str":
        return str(node.value)
    return None


def integer(node: yaml.Node) -> int | None:
    """Give an integer node's value; None for any other node."""
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}int":
        try:
            return int(node.value.replace("_", ""), 0)
        except ValueError:
            return None
    return None


def number(node: yaml.Node) -> float | None:
    """Give the value of an integer or float node; None for any other node."""
    whole = integer(node)
    if whole is not None:
        return float(whole)
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}float":
        try:
            return float(node.value.replace("_", ""))
        except ValueError:
            return None
    return None


def boolean(node: yaml.Node) -> bool | None:
    """Give a boolean node's value; None for any other node."""
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}bool":
        return str(node.value).lower() in ("true", "yes", "on")
    return None
