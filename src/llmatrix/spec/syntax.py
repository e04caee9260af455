"""What PyYAML and libyaml say of broken YAML, in words that tell what to change."""

from __future__ import annotations

from typing import Final

import yaml

_OPENED: Final = {
    "',' or ']'": "the list opened at line {line} is not closed: ',' or ']' is missing before here",
    "',' or '}'": (
        "the mapping opened at line {line} is not closed: ',' or '}}' is missing before here"
    ),
    "unexpected end of stream": "the quotes opened at line {line} are not closed",
}
_SAID: Final = {
    "tab character": "a tab is used for indentation; YAML takes spaces only",
    "mapping values are not allowed": (
        "a ':' is not expected here; check the indentation, or put the text in quotes"
    ),
    "sequence entries are not allowed": (
        "a list item ('- ') is not expected here; begin it on a line of its own"
    ),
    "expected '-' indicator": "a list item ('- ') is expected here; check the indentation",
    "expected ':'": "a ':' is missing after the key that ends here",
    "expected key": "'key: value' is expected here; check the indentation",
    "<document start>": "the document has ended before here; one file holds one experiment",
    "escape": "this escape is unknown in double quotes; use single quotes, or write \\\\ for \\",
    "node content": "a value is expected here",
    "%YAML": "only one %YAML line is possible",
    "undefined tag": "tags (!...) are not taken here; write plain values",
}
_INSIDE: Final = {
    "block mapping": _SAID["expected key"],
    "block collection": _SAID["expected '-' indicator"],
}


def in_words(error: yaml.MarkedYAMLError, character: str) -> str:
    """Say what is wrong; ``character`` is the one at which the reader stopped."""
    problem, context = error.problem or "", error.context or ""
    if "cannot start any token" in problem:
        if character == "\t":
            return _SAID["tab character"]
        return f"a value cannot begin with '{character}'; put it in quotes"
    line = error.context_mark.line + 1 if error.context_mark else "?"
    for told, words in _OPENED.items():
        if told in problem:
            return words.format(line=line)
    for told, words in _SAID.items():
        if told in problem:
            return words
    for told, words in _INSIDE.items():
        if told in context:
            return words
    return f"this is not YAML: {problem or context}"
