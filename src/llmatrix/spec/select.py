"""``--only factor=label[,label]``: run some levels of a factor, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec.faults import sentence
from llmatrix.spec.load import Loaded
from llmatrix.spec.paths import listing, nearest, nearest_path

_SHOWN: int = 8


def select(loaded: Loaded, only: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Read the options and check them against the factors.

    Args:
        loaded: the experiment; its factors, and what ``include`` adds, can be chosen from.
        only: ``factor=label[,label]``; the factor may be given by its last parts
            (``config=prefix``) where only one ends so. Several options for one factor add up.

    Returns:
        Factor path to the labels wanted. A treatment is wanted if, for each of these paths, its
        label is among them; a treatment that lacks the path is not.

    Raises:
        SpecError: an option names no factor or no label; its place is the option.
    """
    return choose(only, _labels(loaded))


def choose(
    options: Sequence[str], labels: Mapping[str, Sequence[str]], *, flag: str = "--only"
) -> dict[str, frozenset[str]]:
    """Read ``factor=label[,label]`` options against the factors that there are.

    Args:
        options: as written after ``flag``.
        labels: of the levels of each factor, by its path.
        flag: what errors name as their place.

    Raises:
        SpecError: an option names no factor or no label; its place is the option.
    """
    wanted: dict[str, frozenset[str]] = {}
    problems: list[Problem] = []
    for option in options:
        place = Place(f"{flag} {option}")
        try:
            path, chosen = _read(option, labels, place, flag)
        except SpecError as error:
            problems += error.problems
        else:
            wanted[path] = wanted.get(path, frozenset()) | chosen
    if problems:
        raise SpecError(*problems)
    return wanted


def _labels(loaded: Loaded) -> dict[str, list[str]]:
    """Give every label of every path, of the factors first."""
    found: dict[str, dict[str, None]] = {
        factor.path: dict.fromkeys(level.label for level in factor.levels)
        for factor in loaded.factors
    }
    for entry in loaded.include:
        for path, level in entry.items():
            found.setdefault(path, {})[level.label] = None
    return {path: list(labels) for path, labels in found.items()}


def _read(
    option: str, labels: Mapping[str, Sequence[str]], place: Place, flag: str
) -> tuple[str, frozenset[str]]:
    factor, equals, text = option.partition("=")
    if not equals or not factor.strip() or not text.strip():
        raise SpecError(
            sentence(place, "", "chooses nothing", f"write {flag} factor=label, without spaces.")
        )
    path = _path(factor.strip(), labels, place)
    known = labels[path]
    # A label may hold a comma itself.
    asked = [text] if text in known else [part.strip() for part in text.split(",")]
    for label in asked:
        if label not in known:
            near = nearest(label, known)
            more = ", …" if len(known) > _SHOWN else ""
            advice = (
                f"did you mean '{near}'?"
                if near
                else f"its levels are {listing(known[:_SHOWN], 'and')}{more}."
            )
            raise SpecError(sentence(place, "", f"'{label}' is no level of {path}", advice))
    return path, frozenset(asked)


def _path(factor: str, labels: Mapping[str, Sequence[str]], place: Place) -> str:
    if factor in labels:
        return factor
    matches = [path for path in labels if path.endswith(f".{factor}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        message = f"'{factor}' may mean {listing(matches)}"
        raise SpecError(sentence(place, "", message, "write more of the path."))
    if not labels:
        raise SpecError(sentence(place, "", "this experiment has no factors to choose from"))
    near = nearest_path(factor, list(labels))
    advice = f"did you mean '{near}'?" if near else f"its factors are {listing(labels, 'and')}."
    raise SpecError(sentence(place, "", f"'{factor}' is no factor of this experiment", advice))
