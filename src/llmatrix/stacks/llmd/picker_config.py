"""What a real endpoint picker would refuse in its configuration, found before it is started.

The rules are those of ``pkg/epp/config/loader`` of the Gateway API Inference Extension v1.2.0:
fields are strict, a plugin's name defaults to its type, names are declared once, references name
declared plugins, a profile has one picker at most. Parameters are the plugins' own and are left
to them. Plugin types are those of GAIE and llm-d that ``llmatrix.sim.plugins`` lists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.sim import yaml_nodes
from llmatrix.sim.node_reader import NodeReader, nearest
from llmatrix.sim.picker_reader import API_VERSIONS, KIND
from llmatrix.sim.plugin_types import Role
from llmatrix.sim.plugins import PLUGINS
from llmatrix.spec.base import FileText
from llmatrix.stacks.llmd.memory import Memory

_BY_PROMPTS: Final = frozenset(
    {
        "prefix-cache-scorer",
        "approx-prefix-cache-producer",
        "precise-prefix-cache-scorer",
        "precise-prefix-cache-producer",
    }
)
"""Plugins that remember prompts by their beginnings."""
_BY_MORE: Final = frozenset(
    {"no-hit-lru-scorer", "slo-aware-routing", "predicted-latency-producer"}
)
"""Plugins that remember how servers did, or which of them was taken last."""
SPLITS: Final = frozenset({"pd-profile-handler", "disagg-profile-handler"})
"""Plugins that choose two servers for a request."""
_TOP: Final = (
    "apiVersion",
    "kind",
    "plugins",
    "schedulingProfiles",
    "featureGates",
    "saturationDetector",
)
_GATES: Final = ("dataLayer", "flowControl")
_FOR_TESTS: Final = ("header-based-testing-filter", "destination-endpoint-served-verifier")
"""Types that GAIE registers for its own conformance tests, in every picker."""
_OPEN: Final = "llm-d.ai/v1alpha1"
"""Configurations of this group have fields and gates that come and go with the image."""


@dataclass(slots=True)
class _Reader(NodeReader):
    """Reads one configuration as far as it is the same for every picker."""

    more: frozenset[str] = frozenset()
    types: dict[str, str] = field(default_factory=dict)
    """Declared name → type; "" for one that was declared wrongly."""

    def read(self, root: yaml.Node) -> None:
        if not isinstance(root, yaml.MappingNode):
            self.wrong(root, f"a {KIND} is a mapping with apiVersion, kind and plugins")
            return
        fields = self._top(root)
        self._identity(root, fields)
        for node in self.items(fields.get("plugins"), "plugins"):
            self._declare(node)
        if not self.types and not self.problems:
            self.wrong(fields.get("plugins", root), "no plugin is declared under plugins")
        names: set[str] = set()
        for node in self.items(fields.get("schedulingProfiles"), "schedulingProfiles"):
            self._profile(node, names)

    def _top(self, root: yaml.MappingNode) -> dict[str, yaml.Node]:
        loose = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
        version = loose.get("apiVersion")
        if version is not None and yaml_nodes.text(version) == _OPEN:
            return loose
        for item in self.items(loose.get("featureGates"), "featureGates"):
            gate = yaml_nodes.text(item)
            if gate not in _GATES:
                self.wrong(item, f"feature gate '{gate}' is unknown{nearest(str(gate), _GATES)}")
        return dict(self.fields(root, _TOP, "the configuration"))

    def _identity(self, root: yaml.Node, fields: Mapping[str, yaml.Node]) -> None:
        version, kind = fields.get("apiVersion"), fields.get("kind")
        if version is None:
            self.wrong(root, f"apiVersion is missing; write {API_VERSIONS[0]}")
        elif yaml_nodes.text(version) not in API_VERSIONS:
            self.wrong(version, f"apiVersion must be {' or '.join(API_VERSIONS)}")
        if kind is None:
            self.wrong(root, f"kind is missing; write {KIND}")
        elif yaml_nodes.text(kind) != KIND:
            self.wrong(kind, f"kind must be {KIND}")

    def _declare(self, node: yaml.Node) -> None:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a plugin is a mapping with a type, and perhaps name and parameters")
            return
        fields = dict(self.fields(node, ("name", "type", "parameters"), "a plugin"))
        kind = self.text(fields, "type")
        if not kind:
            if "type" not in fields:
                self.wrong(node, "the plugin has no type")
            return
        name = self.text(fields, "name") or kind
        if name in self.types:
            self.wrong(fields.get("name", node), f"plugin name '{name}' is used more than once")
            return
        known = {*PLUGINS, *_FOR_TESTS, *self.more}
        self.types[name] = kind if kind in known else ""
        if kind not in known:
            advice = nearest(kind, sorted(known)) or (
                "; if the picker's image has it, add it to stack.router.plugins"
            )
            self.wrong(fields["type"], f"plugin type '{kind}' is unknown{advice}")

    def _profile(self, node: yaml.Node, names: set[str]) -> None:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a scheduling profile is a mapping with a name and plugins")
            return
        fields = dict(self.fields(node, ("name", "plugins"), "a scheduling profile"))
        name = self.text(fields, "name")
        if not name:
            self.wrong(node, "the scheduling profile has no name")
        elif name in names:
            self.wrong(fields["name"], f"profile name '{name}' is used more than once")
        names.add(name or "")
        pickers: list[str] = []
        for item in self.items(fields.get("plugins"), "plugins"):
            kind = self._reference(item)
            if kind in PLUGINS and PLUGINS[kind].role is Role.PICKER:
                pickers.append(kind)
                if len(pickers) == 2:  # noqa: PLR2004 - the second is one too many
                    told = f"'{pickers[0]}' and '{kind}'"
                    self.wrong(item, f"profile '{name}' has two pickers, {told}")

    def _reference(self, node: yaml.Node) -> str:
        """Give the type of the plugin that a profile's entry names; "" where it is none."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a profile's plugin is a mapping with a pluginRef")
            return ""
        fields = dict(self.fields(node, ("pluginRef", "weight"), "a profile's plugin"))
        name = self.text(fields, "pluginRef")
        if not name:
            if "pluginRef" not in fields:
                self.wrong(node, "the profile's plugin has no pluginRef")
            return ""
        if name not in self.types:
            known = nearest(name, self.types) or "; declare it under plugins"
            self.wrong(fields["pluginRef"], f"pluginRef '{name}' names no declared plugin{known}")
        weight = fields.get("weight")
        if weight is not None and yaml_nodes.number(weight) is None:
            self.wrong(weight, "this is not weight: a number")
        return self.types.get(name, "")


def check(config: FileText, more: Collection[str] = ()) -> None:
    """Check a configuration; ``more`` are plugin types that the picker's image has beside ours.

    Raises:
        SpecError: with everything that is wrong, at its place in the file.
    """
    reader = _Reader(more=frozenset(more))
    try:
        root = yaml_nodes.compose(config.text)
    except yaml_nodes.Unreadable as error:
        reader.problems.append(error.problem)
    else:
        if root is None:
            reader.problems.append(yaml_nodes.Problem(1, 1, "the file is empty"))
        else:
            reader.read(root)
    if reader.problems:
        raise SpecError(
            *(
                Problem(Place(config.name, line, column), "", message)
                for line, column, message in sorted(reader.problems)
            )
        )


def splits(config: FileText) -> bool:
    """Tell whether a checked configuration sends prompts to servers that prefill only."""
    document = yaml.safe_load(config.text)
    return any(plugin["type"] in SPLITS for plugin in document["plugins"])


def memory(config: FileText) -> Memory:
    """Tell what a checked configuration's plugins remember; one of another's may be anything."""
    types = {plugin["type"] for plugin in yaml.safe_load(config.text)["plugins"]}
    if types & _BY_MORE or types - {*PLUGINS, *_FOR_TESTS}:
        return Memory.MORE
    return Memory.PROMPTS if types & _BY_PROMPTS else Memory.NOTHING
