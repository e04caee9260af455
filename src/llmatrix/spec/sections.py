"""Put levels into a section and validate it: what the plan does for each combination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError  # noqa: F401 - named in a docstring

from llmatrix.spec.base import Section
from llmatrix.spec.experiment import Model
from llmatrix.spec.paths import keys_of
from llmatrix.spec.stacks import Stack
from llmatrix.spec.workloads import Workload


class ModelSection(Section):
    """The model section under its name, so that errors name it."""

    model: Model


class StackSection(Section):
    """The stack section under its name."""

    stack: Stack


class WorkloadSection(Section):
    """The workload section under its name."""

    workload: Workload


ROOTS: Final[Mapping[str, type[Section]]] = {
    "model": ModelSection,
    "stack": StackSection,
    "workload": WorkloadSection,
}


def assign(section: Mapping[str, Any], levels: Mapping[str, Any]) -> dict[str, Any]:
    """Give a copy of a raw section with levels set at their paths, shallow paths first.

    Args:
        section: the raw section (``Loaded.base["stack"]``); it is not changed, and what the
            paths do not touch is shared with it.
        levels: full factor path (``stack.router.config``, or ``stack`` for the whole section) to
            the level's value; every path is of this section.
    """
    result: Any = dict(section)
    for path in sorted(levels, key=lambda path: path.count(".")):
        keys = keys_of(path)[1:]
        value = levels[path]
        if not keys:
            result = dict(value) if isinstance(value, Mapping) else value
            continue
        if not isinstance(result, dict):
            result = {}
        here = result
        for key in keys[:-1]:
            below = here.get(key)
            copy = dict(below) if isinstance(below, Mapping) else {}
            here[key] = copy
            here = copy
        here[keys[-1]] = value
    return result  # type: ignore[no-any-return]  # a level that is no mapping fails validation


def validate_section(name: str, data: Any) -> Any:
    """Validate a section with its levels in place; reads no file that is already inlined.

    Args:
        name: ``model``, ``stack`` or ``workload``.
        data: the section as plain data.

    Returns:
        A ``Model``, ``Stack`` or ``Workload``.

    Raises:
        ValidationError: of pydantic; ``Loaded.explain`` turns it into places in the file.
    """
    root = ROOTS[name].__pydantic_validator__.validate_python({name: data})
    return getattr(root, name)
