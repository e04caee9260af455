r"""Dotted factor paths, checked against the schema of the experiment document.

Only what is under ``model``, ``stack`` and ``workload`` can be a factor. A path may end at any
field or section; below a field that is a free mapping (``stack.args``) the rest of the path, dots
and all, is one key; below one of values of any kind (``stack.router.chart.values``) it leads on
into them, and a dot that belongs to a key is written ``\.``. Where a section has several kinds, a
path is valid if one of the kinds that the document can take has it.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from llmatrix.spec.base import NamedContent, Section
from llmatrix.spec.experiment import Experiment, Treatment

SECTIONS: Final = ("model", "stack", "workload")

Types = tuple[Any, ...]
"""The types that a value may have: Annotated, Optional and unions taken apart."""
Kinds = Mapping[str, frozenset[str]]
"""For a section, the kinds that this document can take; a section left out can take any."""

_DOT: Final = re.compile(r"(?<!\\)\.")
"""A dot that parts keys."""
_WHY_NO_FACTOR: Final = {
    "name": "the name is the same for the whole experiment",
    "replicates": "replicates repeat every treatment alike",
    "slo": "an objective judges trials and does not change them",
    "run": "run says how trials are carried out, not what they measure",
    "results": "results says where records go, not what is measured",
    "matrix": "the matrix holds the factors",
}


def alternatives(annotation: Any) -> Types:
    """Take an annotation apart into the types that a value of it may have, None left out."""
    origin: Any = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        members = [part for member in get_args(annotation) for part in alternatives(member)]
        return tuple(dict.fromkeys(members))
    return () if annotation is types.NoneType else (annotation,)


@cache
def fields(model: type[Section]) -> Mapping[str, Types]:
    """Give the fields of a section that people write, with their types."""
    hints = typing.get_type_hints(model, include_extras=True)
    found = {name: alternatives(hints[name]) for name in model.model_fields}
    return {name: types for name, types in found.items() if not types or any(map(_written, types))}


def _written(kind: Any) -> bool:
    """Tell whether people write values of a type."""
    content = isinstance(kind, type) and issubclass(kind, NamedContent)
    return not content or kind.WRITTEN


def is_section(kind: Any) -> bool:
    """Tell whether a type has fields of its own that a path can lead to."""
    return (
        isinstance(kind, type) and issubclass(kind, Section) and not issubclass(kind, NamedContent)
    )


def kind_of(model: Any) -> str | None:
    """Give the ``kind`` by which a section's model is chosen, None where there is one only."""
    (literal,) = fields(model).get("kind", (None,)) if is_section(model) else (None,)
    origin: Any = get_origin(literal)
    return str(get_args(literal)[0]) if origin is Literal else None


def kinds(section: str) -> tuple[str, ...]:
    """Give every kind that the schema knows for a section."""
    models = fields(Treatment)[section]
    return tuple(kind for kind in map(kind_of, models) if kind)


def members(of: Types) -> dict[str, Types]:
    """Give the fields below a value of these types, over all alternatives."""
    found: dict[str, Types] = {}
    for model in filter(is_section, of):
        for name, inner in fields(model).items():
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *inner)))
    return found


def free_mapping(of: Types) -> Types | None:
    """Give the value types of a field that takes any key; None for every other field."""
    for kind in of:
        origin: Any = get_origin(kind)
        if origin is dict:
            return alternatives(get_args(kind)[1])
    return None


def find(path: str, possible: Kinds | None = None) -> tuple[tuple[str, ...], Types] | None:
    """Take a dotted path apart.

    Returns:
        Its keys (below a free mapping the rest is one key, below values of any kind one for each
        part) and the types of the value there; None where the schema has no such path.
    """
    keys: list[str] = []
    section, _, rest = path.partition(".")
    if section not in SECTIONS:
        return None
    keys.append(section)
    here = _possible(section, possible or {})
    while rest:
        free = free_mapping(here)
        if free == (Any,):
            inside = [key.replace("\\.", ".") for key in _DOT.split(rest)]
            return ((*keys, *inside), free) if all(inside) else None
        if free is not None:
            return (*keys, rest), free
        name, dot, rest = rest.partition(".")
        below = members(here)
        if name not in below or (dot and not rest):
            return None
        keys.append(name)
        here = below[name]
    return None if path.endswith(".") else (tuple(keys), here)


@cache
def keys_of(path: str) -> tuple[str, ...]:
    """Give the keys of a valid factor path.

    Raises:
        KeyError: the schema has no such path.
    """
    found = find(path)
    if found is None:
        raise KeyError(path)
    return found[0]


def _possible(section: str, possible: Kinds) -> Types:
    models = fields(Treatment)[section]
    wanted = possible.get(section)
    chosen = tuple(model for model in models if wanted is None or kind_of(model) in wanted)
    return chosen or models


def every_path(possible: Kinds | None = None) -> Iterator[tuple[str, Types]]:
    """Give each path that can be a factor, sections before what is in them, with its types."""
    for section in SECTIONS:
        yield from _below(section, _possible(section, possible or {}))


def _below(path: str, of: Types) -> Iterator[tuple[str, Types]]:
    yield path, of
    for name, inner in members(of).items():
        yield from _below(f"{path}.{name}", inner)


def why_invalid(path: str, possible: Kinds) -> tuple[str, str | None]:
    """Say why a path cannot be a factor, and what may have been meant."""
    first = path.partition(".")[0]
    if first in _WHY_NO_FACTOR:
        return (
            f"cannot be a factor: {_WHY_NO_FACTOR[first]}",
            "factors are paths under model, stack or workload.",
        )
    if first in SECTIONS and find(path) is not None:
        owners = [kind for kind in kinds(first) if find(path, {first: frozenset({kind})})]
        have = listing(sorted(possible.get(first, ())))
        return (
            f"belongs to {first} kind {listing(owners)}; this experiment's is {have}",
            None,
        )
    near = nearest_path(path, [known for known, _ in every_path(possible)])
    return (
        "is no path of the experiment",
        f"did you mean '{near}'?" if near else "factors are paths under model, stack or workload.",
    )


def nearest_path(path: str, known: Collection[str]) -> str | None:
    """Give the known path most like this one.

    First one that ends alike (``output_len``), then the field below which nothing is, then a
    sibling, then one whose last part is spelt
    alike, then one that is spelt alike as a whole.
    """
    tails = [candidate for candidate in known if candidate.endswith(f".{path}")]
    if tails:
        return min(tails, key=len)
    above, _, last = path.rpartition(".")
    if above in known and not any(candidate.startswith(f"{above}.") for candidate in known):
        return above
    siblings = [candidate for candidate in known if candidate.rpartition(".")[0] == above]
    for candidates in (siblings, known):
        by_last = {candidate.rpartition(".")[2]: candidate for candidate in candidates}
        if match := nearest(last, by_last):
            return by_last[match]
    return nearest(path, [candidate for candidate in known if not path.startswith(f"{candidate}.")])


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word most like this one, None where none is near."""
    folded = {candidate.casefold(): candidate for candidate in known}
    # Beyond this no known word can be near, and comparing would take long.
    short = word[:200].casefold().replace("-", "_").replace("_", "-")
    spelt = {name.replace("_", "-"): candidate for name, candidate in folded.items()}
    match = difflib.get_close_matches(short, spelt, n=1, cutoff=0.6)
    return spelt[match[0]] if match else None


def listing(words: Iterable[str], last: str = "or") -> str:
    """Join words as a sentence does: 'a', 'b' or 'c'."""
    quoted = [f"'{word}'" for word in words]
    if not quoted:
        return "none"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


TOP_LEVEL: Final = (
    "name",
    *SECTIONS,
    "matrix",
    *(name for name in Experiment.model_fields if name != "name"),
)
"""Every key that the top of an experiment file may have, in the order of the documentation."""
