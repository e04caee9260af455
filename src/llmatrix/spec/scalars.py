"""What an unquoted word of YAML means here: the YAML 1.2 core schema, without its traps.

YAML 1.1 readers (most of them, still) take ``no`` for false, ``010`` for eight and ``1:30`` for
ninety. Words on which the two disagree about a number or a boolean are refused, so that a file
means the same to every reader; dates, times and sexagesimals are text.
"""

from __future__ import annotations

import math
import re
from typing import Final

Scalar = None | bool | int | float | str

_CONSTANTS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_OLD_BOOLEANS: Final = {
    **dict.fromkeys(("y", "yes", "on"), "true"),
    **dict.fromkeys(("n", "no", "off"), "false"),
}
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+")
_OLD_OCTAL: Final = re.compile(r"([-+]?)0([0-9]+)")
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_DIGITS: Final = 400
_INT_64: Final = range(-(2**63), 2**63)


def plain_scalar(text: str) -> Scalar:
    """Read an unquoted word.

    Raises:
        ValueError: readers disagree about it, or it is a number that nothing here can hold.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if meaning := _OLD_BOOLEANS.get(text.lower()):
        raise ValueError(
            f"some YAML readers take '{text}' for {meaning}; write {meaning}, or '{text}' in quotes"
        )
    if len(text) > _MOST_DIGITS:
        return text
    if _DECIMAL.fullmatch(text) or _BASED.fullmatch(text):
        return _whole(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(f"the number {text} is too large; put it in quotes if it is text")
        return number
    if _ENDLESS.fullmatch(text):
        raise ValueError(f"{text} is no number to measure with; put it in quotes if it is text")
    return text


def plain_key(text: str) -> str:
    """Read an unquoted key; every key is text.

    Raises:
        ValueError: the key is no plain word, or readers disagree about it.
    """
    if text == "<<":
        raise ValueError(
            "merge keys (<<) are not taken here; write the keys out, or use an alias for the whole"
        )
    if text == "":
        raise ValueError("a key is empty; write key: value")
    if text in _CONSTANTS or text.lower() in _OLD_BOOLEANS:
        raise ValueError(f"not every YAML reader takes the key '{text}' for text; put it in quotes")
    return text


def _whole(text: str) -> int:
    if match := _OLD_OCTAL.fullmatch(text):
        decimal = f"{match[1]}{match[2].lstrip('0') or '0'}"
        raise ValueError(
            f"some YAML readers take {text} for an octal number; "
            f"write {decimal}, or '{text}' in quotes"
        )
    number = int(text, 0) if _BASED.fullmatch(text) else int(text)
    if number not in _INT_64:
        raise ValueError(f"the number {text} is too large; put it in quotes if it is text")
    return number
