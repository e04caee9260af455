"""``--set path=value``: change the document before it is checked.

The path is dotted. Under ``matrix`` everything after the first dot is one key, since factor paths
are single keys there: ``--set matrix.workload.output_len=[10]`` replaces that factor's levels.
The value is YAML (``[10, 20]``, ``{rate: 5}``, ``'text'``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec.faults import dotted, sentence
from llmatrix.spec.matrix import LISTS
from llmatrix.spec.nodes import Entry, Keys, Node, Source
from llmatrix.spec.paths import TOP_LEVEL, find, nearest
from llmatrix.spec.source import parse

_SHOWN: Final = 80


def override(source: Source, options: Sequence[str]) -> Source:
    """Give the source with every option applied, in their order.

    Raises:
        SpecError: an option cannot be applied; its place is the option itself.
    """
    problems: list[Problem] = []
    root = source.root
    for option in options:
        place = Place(f"--set {option if len(option) <= _SHOWN else option[: _SHOWN - 1] + '…'}")
        path, equals, text = option.partition("=")
        path = path.strip()
        if not path or not equals:
            problems.append(
                sentence(place, "", "is no override", "write --set path=value, without spaces.")
            )
            continue
        try:
            keys = _keys(path, place)
            node = _value(text, place)
            _shadowed(root, path, place)
            root = _set(root, keys, node, place)
        except SpecError as error:
            problems += [replace(problem, path="") for problem in error.problems]
    if problems:
        raise SpecError(*problems)
    return Source(source.file, root)


def _value(text: str, place: Place) -> Node:
    node = parse(text, lambda _line, _column: place)
    if node is None:
        raise SpecError(sentence(place, "", "has no value", "write null, or '' for no text."))
    return node


def _keys(path: str, place: Place) -> Keys:
    first, dot, rest = path.partition(".")
    if first not in TOP_LEVEL:
        near = nearest(first, TOP_LEVEL)
        advice = f"did you mean '{near}'?" if near else f"known: {', '.join(TOP_LEVEL)}."
        raise SpecError(sentence(place, "", f"'{first}' is no part of an experiment", advice))
    if not dot:
        return (first,)
    if first == "matrix":
        return (first, rest)
    found = find(path)
    if found:
        return found[0]
    return tuple(int(key) if key.isdecimal() else key for key in path.split("."))


def _shadowed(root: Node, path: str, place: Place) -> None:
    """Refuse to set what every level of a factor would replace."""
    matrix = root.value.get("matrix") if isinstance(root.value, dict) else None
    factors = matrix.node.value if matrix else None
    for factor in factors if isinstance(factors, dict) else ():
        if factor not in LISTS and (path == factor or path.startswith(f"{factor}.")):
            raise SpecError(
                sentence(
                    place,
                    "",
                    f"would change nothing, since the matrix varies {factor}",
                    f"set its levels (--set 'matrix.{factor}=[...]'), "
                    f"or choose some (--only {factor}=...).",
                )
            )


def _set(node: Node, keys: Keys, value: Node, place: Place, above: Keys = ()) -> Node:
    """Give a copy of the node with ``value`` at ``keys``; what is missing is made."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node.value, list) and isinstance(key, int):
        if key >= len(node.value):
            message = f"{dotted(above)} has {len(node.value)} items, counted from 0"
            raise SpecError(sentence(place, "", message))
        items = list(node.value)
        items[key] = _set(items[key], rest, value, place, (*above, key))
        return replace(node, value=items)
    if node.value is not None and not isinstance(node.value, dict):
        advice = f"set {dotted(above)} whole."
        raise SpecError(sentence(place, "", f"{dotted(above)} is no mapping", advice))
    entries = dict(node.value or {})
    name = str(key)
    entry = entries.get(name) or Entry(place, Node(place, None))
    below = _set(entry.node, rest, value, place, (*above, name))
    entries[name] = Entry(place if not rest else entry.place, below)
    return Node(node.place, entries)
