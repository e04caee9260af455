"""The document of an ``EndpointPickerConfig`` as every endpoint picker reads it.

The rules are those of ``pkg/epp/config/loader`` of the Gateway API Inference Extension v1.2.0:
fields are strict, a plugin's name defaults to its type, names are declared once, references name
declared plugins. What plugins and parameters there are is for whoever reads on: the simulator
(``picker_reader``), or who sends the document to a real picker (``stacks.llmd.picker_config``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

from llmatrix.sim import yaml_nodes
from llmatrix.sim.node_reader import NodeReader, nearest

API_VERSIONS: Final = ("inference.networking.x-k8s.io/v1alpha1", "llm-d.ai/v1alpha1")
KIND: Final = "EndpointPickerConfig"
_TOP: Final = (
    "apiVersion",
    "kind",
    "plugins",
    "schedulingProfiles",
    "featureGates",
    "saturationDetector",
)
_GATES: Final = ("dataLayer", "flowControl")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A plugin as it stands under ``plugins``: its name, its type, and where."""

    name: str
    type: str
    node: yaml.MappingNode
    fields: Mapping[str, yaml.Node]


@dataclass(slots=True)
class PickerDocument(NodeReader):
    """Reads the parts of one document.

    Attributes:
        names: of the plugins that are declared so far, also of those declared wrongly.
    """

    names: list[str] = field(default_factory=list)

    def top(self, root: yaml.Node) -> Mapping[str, yaml.Node] | None:
        """Give the fields of the document; None, and a problem, where it is none."""
        if not isinstance(root, yaml.MappingNode):
            self.wrong(root, f"a {KIND} is a mapping with apiVersion, kind and plugins")
            return None
        fields = self.known(root)
        version, kind = fields.get("apiVersion"), fields.get("kind")
        if version is None:
            self.wrong(root, f"apiVersion is missing; write {API_VERSIONS[0]}")
        elif yaml_nodes.text(version) not in API_VERSIONS:
            self.wrong(version, f"apiVersion must be {' or '.join(API_VERSIONS)}")
        if kind is None:
            self.wrong(root, f"kind is missing; write {KIND}")
        elif yaml_nodes.text(kind) != KIND:
            self.wrong(kind, f"kind must be {KIND}")
        return fields

    def known(self, root: yaml.MappingNode) -> Mapping[str, yaml.Node]:
        """Give the document's fields; others are wrong."""
        return dict(self.fields(root, _TOP, "the configuration"))

    def gates(self, fields: Mapping[str, yaml.Node]) -> Iterator[tuple[str, yaml.Node]]:
        """Give the feature gates that there are; others are wrong."""
        for item in self.items(fields.get("featureGates"), "featureGates"):
            gate = str(yaml_nodes.text(item))
            if gate in _GATES:
                yield gate, item
            else:
                self.wrong(item, f"feature gate '{gate}' is unknown{nearest(gate, _GATES)}")

    def declarations(self, fields: Mapping[str, yaml.Node]) -> Iterator[Declaration]:
        """Give the plugins that are declared, each name once."""
        for node in self.items(fields.get("plugins"), "plugins"):
            if not isinstance(node, yaml.MappingNode):
                self.wrong(
                    node, "a plugin is a mapping with a type, and perhaps name and parameters"
                )
                continue
            inside = dict(self.fields(node, ("name", "type", "parameters"), "a plugin"))
            kind = self.text(inside, "type")
            if kind is None:
                if "type" not in inside:
                    self.wrong(node, "the plugin has no type")
                continue
            name = self.text(inside, "name") or kind
            if name in self.names:
                self.wrong(inside.get("name", node), f"plugin name '{name}' is used more than once")
                continue
            self.names.append(name)
            yield Declaration(name, kind, node, inside)

    def profiles(self, fields: Mapping[str, yaml.Node]) -> Iterator[tuple[str, list[yaml.Node]]]:
        """Give each scheduling profile's name and its plugins, each name once."""
        seen: set[str] = set()
        for node in self.items(fields.get("schedulingProfiles"), "schedulingProfiles"):
            if not isinstance(node, yaml.MappingNode):
                self.wrong(node, "a scheduling profile is a mapping with a name and plugins")
                continue
            inside = dict(self.fields(node, ("name", "plugins"), "a scheduling profile"))
            name = self.text(inside, "name")
            if name == "" or "name" not in inside:
                self.wrong(node, "the scheduling profile has no name")
            elif name in seen:
                self.wrong(inside["name"], f"profile name '{name}' is used more than once")
                continue
            seen.add(name or "")
            yield name or "", self.items(inside.get("plugins"), "plugins")

    def reference(self, node: yaml.Node) -> tuple[str, yaml.Node | None] | None:
        """Give the declared plugin that a profile's entry names, and its weight; None if none."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a profile's plugin is a mapping with a pluginRef")
            return None
        fields = dict(self.fields(node, ("pluginRef", "weight"), "a profile's plugin"))
        name = self.text(fields, "pluginRef")
        if not name:
            if "pluginRef" not in fields:
                self.wrong(node, "the profile's plugin has no pluginRef")
            return None
        if name not in self.names:
            known = nearest(name, self.names) or "; declare it under plugins"
            self.wrong(fields["pluginRef"], f"pluginRef '{name}' names no declared plugin{known}")
            return None
        return name, fields.get("weight")
