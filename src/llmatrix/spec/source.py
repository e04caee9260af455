"""Read YAML into plain data that remembers where each part stands.

The reader works on parser events, so that no depth of nesting reaches Python's recursion limit,
and makes nothing but mappings, lists and scalars.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec.builder import Builder, shorten
from llmatrix.spec.faults import sentence
from llmatrix.spec.files import read_bytes
from llmatrix.spec.inline import near_file
from llmatrix.spec.nodes import Node, Source
from llmatrix.spec.syntax import in_words

MAX_FILE_BYTES: Final = 4 * 1024 * 1024

_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_PARSER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read_source(path: Path) -> Source:
    """Read a file whose top is a mapping.

    Raises:
        SpecError: it cannot be read, or is not the YAML that is taken here.
    """
    file = str(path)
    try:
        data = read_bytes(path, limit=MAX_FILE_BYTES)
    except ValueError as error:
        near = near_file(path)
        advice = f"did you mean '{path.with_name(near)}'?" if near else None
        raise SpecError(sentence(Place(file), "", f"the file {error}", advice)) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError(
            Problem(Place(file, line, column), "", "the file is not UTF-8 text; save it as UTF-8.")
        ) from None
    root = parse(text, lambda line, column: Place(file, line, column))
    if root is None or root.value is None:
        raise SpecError(
            Problem(Place(file), "", "the file is empty; `llmatrix init` writes one to begin with.")
        )
    if not isinstance(root.value, dict):
        found = "a list" if isinstance(root.value, list) else f"'{shorten(root.text)}'"
        raise SpecError(
            Problem(root.place, "", f"an experiment is a mapping (key: value), not {found}.")
        )
    return Source(file, root)


def parse(text: str, place: Callable[[int, int], Place]) -> Node | None:
    """Read one YAML document; None where there is none.

    Args:
        text: the document.
        place: gives the place of a line and column, both from 1.

    Raises:
        SpecError: everything that is wrong with it as YAML.
    """
    if match := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        message = f"the character U+{ord(match[0]):04X} cannot stand in a text file; remove it."
        raise SpecError(Problem(place(line, column), "", message))
    builder = Builder(place)
    try:
        for event in yaml.parse(text, _PARSER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        raise SpecError(*builder.problems, _syntax_problem(error, text, place)) from None
    except yaml.YAMLError as error:
        message = f"this is not YAML: {shorten(' '.join(str(error).split()))}."
        raise SpecError(*builder.problems, Problem(place(1, 1), "", message)) from None
    if builder.problems:
        raise SpecError(*builder.problems)
    return builder.root


def _syntax_problem(
    error: yaml.MarkedYAMLError, text: str, place: Callable[[int, int], Place]
) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    row = lines[line] if line < len(lines) else ""
    character = row[column] if column < len(row) else ""
    return Problem(place(line + 1, column + 1), "", f"{in_words(error, character)}.")
