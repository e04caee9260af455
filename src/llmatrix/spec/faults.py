"""What pydantic finds wrong, in plain words and at paths that the user wrote.

Pydantic's locations name the branches of unions beside the keys of the document; walking the
schema beside a location tells the one from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from llmatrix.errors import Place, Problem
from llmatrix.spec.base import Section
from llmatrix.spec.experiment import DNS_1123
from llmatrix.spec.nodes import Keys
from llmatrix.spec.paths import (
    Types,
    alternatives,
    fields,
    find,
    free_mapping,
    is_section,
    kind_of,
    kinds,
    listing,
    nearest,
)
from llmatrix.spec.stack_parts import ENV_NAME

_SHOWN: Final = 60
_SCALARS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}
_PATTERNS: Final = {
    DNS_1123: (
        "must be lower-case letters, digits and dashes, beginning and ending with a letter or "
        "digit, 53 characters at most"
    ),
    ENV_NAME: (
        "must be the name of an environment variable: letters, digits and underscores, "
        "no digit first"
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with plain data.

    Attributes:
        keys: where, as keys and indices from the top of the data.
        message: what, in words that follow the path.
        suggestion: what to do about it, as the rest of the sentence.
        at_key: whether the key itself is wrong, and not its value.
    """

    keys: Keys
    message: str
    suggestion: str | None = None
    at_key: bool = False


def faults(error: ValidationError, root: type[Section]) -> list[Fault]:
    """Say in words what an error of ``root`` says; one fault per place."""
    found: dict[Keys, Fault] = {}
    for details in error.errors(include_url=False):
        keys, owner, here, scalar_union = _unfold(details["loc"], root)
        if scalar_union:
            fault = Fault(keys, f"must be {_nouns(scalar_union)}, not {show(details['input'])}")
        else:
            fault = _fault(details, keys, owner, here)
        found.setdefault(fault.keys, fault)
    return list(found.values())


def _unfold(location: Sequence[str | int], root: type[Section]) -> tuple[Keys, Types, Types, Types]:
    """Part the keys of a location from the names of union branches.

    Returns:
        The keys; the types that hold the last key; the types of the value there; and the whole
        union where the location ends in a branch of scalars.
    """
    keys: list[str | int] = []
    owner: Types = ()
    here: Types = (root,)
    for part in location:
        if part == "[key]":
            continue
        if len(here) > 1:
            if all(kind in _SCALARS for kind in here):
                return tuple(keys), owner, here, here
            here = tuple(kind for kind in here if part in _tags(kind)) or here[:1]
            continue
        keys.append(part)
        owner, here = here, _inside(here, part)
    return tuple(keys), owner, here, ()


def _tags(kind: Any) -> tuple[str | None, ...]:
    return kind_of(kind), getattr(kind, "__name__", None)


def _inside(here: Types, part: str | int) -> Types:
    for kind in here:
        if is_section(kind):
            return fields(kind).get(str(part), ())
        origin: Any = get_origin(kind)
        if origin is tuple:
            return alternatives(get_args(kind)[0])
    return free_mapping(here) or ()


def _fault(details: ErrorDetails, keys: Keys, owner: Types, here: Types) -> Fault:
    kind, context, value = details["type"], details.get("ctx") or {}, details["input"]
    match kind:
        case "missing":
            return Fault(keys, "is missing")
        case "extra_forbidden":
            return _unknown(keys, owner)
        case "union_tag_not_found" | "union_tag_invalid":
            return _wrong_kind(keys, here, value, kind_given="tag" in context)
        case "literal_error":
            return _choice(keys, [str(choice) for choice in get_args(here[0])], value)
        case _:
            message = _message(details)
            quotes = kind == "string_type" and isinstance(value, (bool, int, float))
            at_key = details["loc"][-1:] == ("[key]",)
            return Fault(keys, message, "put it in quotes." if quotes else None, at_key)


def _message(details: ErrorDetails) -> str:
    kind, context, value = details["type"], details.get("ctx") or {}, details["input"]
    if kind == "value_error":
        message = str(context["error"])
        return f"{show(value)} {message}" if message.startswith("is ") else message
    if kind in {"string_too_short", "too_short"}:
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        message = _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    elif words := _WORDS.get(kind):
        message = words(context)
    else:
        message = details["msg"][:1].lower() + details["msg"][1:]
    if kind == "load" and isinstance(value, Mapping):
        return message
    return f"{message}, not {show(value)}"


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float"), lambda _: "must be a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), lambda _: "must be a number"),
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be text",
    "bool_type": lambda _: "must be true or false",
    "greater_than": lambda c: f"must be above {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']:g}",
    "less_than": lambda c: f"must be below {c['lt']:g}",
    "less_than_equal": lambda c: f"must be at most {c['le']:g}",
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"),
        lambda _: "must be a mapping (key: value)",
    ),
    **dict.fromkeys(("tuple_type", "list_type"), lambda _: "must be a list"),
}


def _unknown(keys: Keys, owner: Types) -> Fault:
    *above, name = keys
    known = [field for kind in owner if is_section(kind) for field in fields(kind)]
    near = nearest(str(name), known)
    others = _other_kinds(keys, owner)
    if others:
        suggestion = f"it belongs to {above[0]} kind {listing(others)}."
    elif near:
        suggestion = f"did you mean '{near}'?"
    else:
        suggestion = f"known here: {', '.join(known)}."
    kind = kind_of(owner[0]) if owner else None
    where = f"for {dotted(tuple(above))} kind '{kind}'" if kind and above else "here"
    return Fault(keys, f"is not known {where}", suggestion, at_key=True)


def _other_kinds(keys: Keys, owner: Types) -> list[str]:
    """Give the other kinds of the section that have the field."""
    section, path = str(keys[0]), ".".join(map(str, keys))
    here = kind_of(owner[0]) if owner else None
    if here is None:
        return []
    return [
        kind
        for kind in kinds_of_section(section)
        if kind != here and find(path, {section: frozenset({kind})})
    ]


def kinds_of_section(section: str) -> tuple[str, ...]:
    """Give the kinds of a section; none for a part of the document that has no kinds."""
    return kinds(section) if section in {"model", "stack", "workload"} else ()


def _wrong_kind(keys: Keys, here: Types, value: Any, *, kind_given: bool) -> Fault:
    choices = [kind for kind in map(kind_of, here) if kind]
    if not kind_given:
        return Fault((*keys, "kind"), "is missing", f"the kinds are {listing(choices, 'and')}.")
    return _choice((*keys, "kind"), choices, value.get("kind"))


def _choice(keys: Keys, choices: Sequence[str], value: Any) -> Fault:
    near = nearest(value, choices) if isinstance(value, str) and len(choices) > 1 else None
    advice = f"did you mean '{near}'?" if near else None
    return Fault(keys, f"must be {listing(choices)}, not {show(value)}", advice)


def _nouns(types: Types) -> str:
    nouns = list(dict.fromkeys(_SCALARS[kind] for kind in types))
    return f"{', '.join(nouns[:-1])} or {nouns[-1]}" if len(nouns) > 1 else nouns[0]


def show(value: Any) -> str:
    """Name a value in a sentence, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"
        return f"'{text}'" if text.isprintable() else repr(text)
    if isinstance(value, (list, tuple)):
        return "a list"
    return "a mapping" if isinstance(value, Mapping) else str(value)


def problem(place: Place, fault: Fault) -> Problem:
    """Say at its place what is wrong, as one sentence."""
    path = dotted(fault.keys)
    if place.file.startswith(f"--set {path}="):
        path = ""
    return sentence(place, path, fault.message, fault.suggestion)


def sentence(place: Place, path: str, message: str, suggestion: str | None = None) -> Problem:
    """Make one sentence of what is wrong and what to do."""
    return Problem(place, path, f"{message};" if suggestion else f"{message}.", suggestion)


def dotted(keys: Keys) -> str:
    """Write keys as the path that a user reads: ``stack.command[0]``."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else (f".{key}" if text else key)
    return text
