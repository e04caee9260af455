"""The JSON Schema of an experiment file, for editors.

It accepts every file that llmatrix accepts, and refuses what can be refused without the matrix at
hand: a field that the base document leaves to a factor is not missing, so nothing inside of the
sections is required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from llmatrix.spec.experiment import Experiment, Treatment
from llmatrix.spec.paths import SECTIONS, every_path, free_mapping

Schema = dict[str, Any]

_REF: Final = "#/$defs/{model}"
_RENAMED: Final = {
    "oneOf": "anyOf",
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}
_FACTOR: Final = rf"^({'|'.join(SECTIONS)})(\..+)?$"


def json_schema() -> Schema:
    """Give the schema (draft 2020-12) of an experiment file."""
    models: list[tuple[type[BaseModel], Any]] = [
        (Treatment, "validation"),
        (Experiment, "validation"),
    ]
    _, built = models_json_schema(models, ref_template=_REF)
    definitions: dict[str, Schema] = built["$defs"]
    treatment, experiment = definitions.pop("Treatment"), definitions.pop("Experiment")
    sections = {name: treatment["properties"][name] for name in SECTIONS}
    settings = dict(experiment["properties"])
    for definition in definitions.values():
        definition.pop("required", None)
    properties = {
        "name": settings.pop("name"),
        **sections,
        "matrix": _matrix(sections, definitions),
        **settings,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llmatrix experiment",
        "description": "A stack, a workload, and a matrix of factors over both.",
        "type": "object",
        "properties": _plain(properties),
        "required": ["name"],
        "additionalProperties": False,
        "$defs": _plain(definitions),
    }


def _plain(schema: Any) -> Any:
    """Write JSON Schema where pydantic writes OpenAPI or its own words.

    With nothing required, more than one kind may match: ``oneOf`` becomes ``anyOf``.
    """
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        _RENAMED.get(key, key): _plain(value)
        for key, value in schema.items()
        if key != "discriminator"
    }


def _matrix(sections: dict[str, Schema], definitions: dict[str, Schema]) -> Schema:
    values: dict[str, list[Schema]] = {}
    for section, schema in sections.items():
        for path, value in _values(section, schema, definitions):
            values.setdefault(path, []).append(value)
    free = {path: of for path, types in every_path() if (of := free_mapping(types))}
    properties = {path: _one(found) for path, found in values.items() if "*" not in path}
    patterns = {
        f"^{re.escape(path)}\\..+$": _one(values.get(f"{path}.*", [{}])) for path in sorted(free)
    }
    entry = {
        "type": "object",
        "minProperties": 1,
        "properties": {path: _level(value) for path, value in properties.items()},
        "patternProperties": {path: _level(value) for path, value in patterns.items()},
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "description": "Dotted paths under model, stack or workload, each with a list of levels.",
        "minProperties": 1,
        "properties": {
            **{path: _levels(value) for path, value in properties.items()},
            "include": {
                "type": "array",
                "description": "Combinations to add, or to extend, as in GitHub Actions.",
                "items": entry,
            },
            "exclude": {
                "type": "array",
                "description": "Combinations to leave out; a part of one leaves out all of it.",
                "items": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": _FACTOR},
                },
            },
        },
        "patternProperties": {path: _levels(value) for path, value in patterns.items()},
        "additionalProperties": False,
    }


def _levels(value: Schema) -> Schema:
    levels: Schema = {"type": "array", "minItems": 1, "items": _level(value)}
    if "description" in value:
        levels["description"] = value["description"]
    return levels


def _level(value: Schema) -> Schema:
    named = {
        "type": "object",
        "description": "A level with a name of its own.",
        "properties": {"name": {"type": ["string", "number"]}, "value": value},
        "required": ["name", "value"],
        "additionalProperties": False,
    }
    return {"anyOf": [value, named]}


def _one(values: list[Schema]) -> Schema:
    unique = [value for index, value in enumerate(values) if value not in values[:index]]
    if len(unique) == 1:
        return unique[0]
    found: Schema = {"anyOf": unique}
    descriptions = [value["description"] for value in unique if "description" in value]
    return {**found, "description": descriptions[0]} if descriptions else found


def _values(
    path: str, schema: Schema, definitions: dict[str, Schema]
) -> Iterator[tuple[str, Schema]]:
    """Give each path with the schema of its value; ``path.*`` for any key of a free mapping."""
    yield path, {key: value for key, value in schema.items() if key != "default"}
    for branch in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if "$ref" in branch:
            definition = definitions[branch["$ref"].rpartition("/")[2]]
            for name, inner in definition.get("properties", {}).items():
                yield from _values(f"{path}.{name}", inner, definitions)
        for free in (
            branch.get("additionalProperties"),
            *branch.get("patternProperties", {}).values(),
        ):
            if isinstance(free, dict):
                yield f"{path}.*", free
