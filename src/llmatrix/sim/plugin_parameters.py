"""Reads the parameters of one declared plugin, each in the form that its type wants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from llmatrix.sim import yaml_nodes
from llmatrix.sim.label_selector import OPERATORS, Requirement
from llmatrix.sim.node_reader import NodeReader
from llmatrix.sim.plugin_types import Parameter, Plugin

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GO_DURATION: Final = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_FORMS: Final = {
    "integer": "an integer",
    "boolean": "a boolean",
    "duration": "a duration, such as 30s",
    "number": "a number",
    "text": "text",
    "texts": "a list of text",
    "names": "a mapping of text to text",
}


def duration_s(value: str) -> float | None:
    """Give the seconds of a duration as Go writes it (``150ms``, ``1m30s``); None if it is none."""
    if value == "0":
        return 0.0
    parts = _GO_DURATION.findall(value)
    if not parts or "".join(parts) != value:
        return None
    total = 0.0
    for part in parts:
        unit = part.lstrip("0123456789.")
        total += float(part[: -len(unit)]) * _UNITS[unit]
    return total


def read(
    reader: NodeReader, plugin: Plugin, owner: yaml.Node, node: yaml.Node | None
) -> Mapping[str, Any]:
    """Give every parameter of a plugin, defaults filled in; what is wrong is noted.

    Args:
        reader: takes the problems.
        plugin: the type.
        owner: where the plugin is declared.
        node: its parameters; None where it has none.
    """
    values = {name: parameter.default for name, parameter in plugin.parameters.items()}
    given: dict[str, yaml.Node] = {}
    if node is not None and not yaml_nodes.is_null(node):
        if isinstance(node, yaml.MappingNode):
            what = f"'{plugin.type}'"
            given = dict(reader.fields(node, plugin.parameters, what, "parameter"))
        else:
            reader.wrong(node, "parameters are a mapping")
    for name, value in given.items():
        if not yaml_nodes.is_null(value):
            values[name] = _parameter(reader, name, plugin.parameters[name], value)
    for name, parameter in plugin.parameters.items():
        if parameter.required and name not in given:
            reader.wrong(owner, f"'{plugin.type}' needs the parameter '{name}'")
    return values


def _parameter(reader: NodeReader, name: str, parameter: Parameter, node: yaml.Node) -> Any:
    if parameter.kind == "selector":
        return _labels(reader, node) if name == "matchLabels" else _expressions(reader, node)
    value = _value(parameter.kind, node)
    if value is None:
        reader.wrong(node, f"parameter '{name}' must be {_FORMS[parameter.kind]}")
        return parameter.default
    if parameter.positive and isinstance(value, int | float) and value <= 0:
        return parameter.default
    return value


def _value(kind: str, node: yaml.Node) -> Any:
    """Read a node as a kind of parameter; None when it is of another."""
    if kind == "duration":
        written = yaml_nodes.text(node)
        return None if written is None else duration_s(written)
    if kind == "texts":
        return _texts(node)
    if kind == "names":
        return _names(node)
    readers = {
        "integer": yaml_nodes.integer,
        "boolean": yaml_nodes.boolean,
        "number": yaml_nodes.number,
        "text": yaml_nodes.text,
    }
    return readers[kind](node)


def _texts(node: yaml.Node) -> tuple[str, ...] | None:
    if not isinstance(node, yaml.SequenceNode):
        return None
    found = tuple(text for item in node.value if (text := yaml_nodes.text(item)) is not None)
    return found if len(found) == len(node.value) else None


def _names(node: yaml.Node) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    found = tuple((yaml_nodes.text(key), yaml_nodes.text(value)) for key, value in node.value)
    named = tuple((key, value) for key, value in found if key is not None and value is not None)
    return named if len(named) == len(found) else None


def _labels(reader: NodeReader, node: yaml.Node) -> tuple[Requirement, ...]:
    labels = _names(node)
    if labels is None:
        reader.wrong(node, "matchLabels is a mapping of labels to the values they must have")
        return ()
    return tuple(Requirement(key, "In", (value,)) for key, value in labels)


def _expressions(reader: NodeReader, node: yaml.Node) -> tuple[Requirement, ...]:
    found = []
    for item in reader.items(node, "matchExpressions"):
        if not isinstance(item, yaml.MappingNode):
            reader.wrong(item, "an expression is a mapping with key, operator and perhaps values")
            continue
        fields = dict(reader.fields(item, ("key", "operator", "values"), "an expression"))
        key, operator = reader.text(fields, "key"), reader.text(fields, "operator")
        values = _texts(fields["values"]) if "values" in fields else ()
        if not key or operator not in OPERATORS or values is None:
            reader.wrong(
                item, f"an expression needs a key, and an operator of {', '.join(OPERATORS)}"
            )
        elif (operator in ("In", "NotIn")) != bool(values):
            reader.wrong(item, "In and NotIn need values, Exists and DoesNotExist take none")
        else:
            found.append(Requirement(key, operator, values))
    return tuple(found)
