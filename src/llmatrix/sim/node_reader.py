"""Reads YAML nodes strictly: what is unknown, twice or of another kind is noted with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import yaml

from llmatrix.sim import yaml_nodes
from llmatrix.sim.yaml_nodes import Problem, place

T = TypeVar("T")


@dataclass(slots=True)
class NodeReader:
    """Reads nodes and goes on after what is wrong.

    Attributes:
        problems: what was wrong so far.
    """

    problems: list[Problem] = field(default_factory=list)

    def wrong(self, node: yaml.Node, message: str) -> None:
        """Note that something is wrong at a node."""
        self.problems.append(Problem(*place(node), message))

    def fields(
        self, node: yaml.MappingNode, known: Iterable[str], owner: str, what: str = "field"
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Give a mapping's known keys with their values; others are wrong."""
        names = tuple(known)
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name not in names:
                near = nearest(str(name), names)
                if not near:
                    near = f"; it has {', '.join(names)}" if names else "; it has none"
                self.wrong(key, f"{owner} has no {what} '{name}'{near}")
            elif name in seen:
                self.wrong(key, f"{what} '{name}' is given twice")
            else:
                seen.add(name)
                yield name, value

    def items(self, node: yaml.Node | None, name: str) -> list[yaml.Node]:
        """Give a list's items; nothing when it is not there."""
        if node is None or yaml_nodes.is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(node, f"{name} must be a list")
            return []
        return list(node.value)

    def text(self, fields: Mapping[str, yaml.Node], name: str) -> str | None:
        """Give a text field; None when it is not there, or is no text."""
        node = fields.get(name)
        if node is None:
            return None
        return self.wanted(node, yaml_nodes.text(node), f"{name}: text")

    def wanted(self, node: yaml.Node, value: T | None, kind: str) -> T | None:
        """Pass a value on that was read from a node; None means that it was of another kind."""
        if value is None:
            self.wrong(node, f"this is not {kind}")
        return value


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest what was meant, as the end of a sentence; empty when nothing is near."""
    near = difflib.get_close_matches(name, tuple(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
