"""Kubernetes' label selectors: which replicas have the labels that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a set of labels must satisfy, as in ``matchExpressions``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def admits(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels satisfy it; ``NotIn`` is satisfied where there is no such label."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        return (value is not None) == (self.operator == "Exists")


def admits(requirements: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    """Tell whether labels satisfy all of them; nothing asked for admits all."""
    return all(requirement.admits(labels) for requirement in requirements)
