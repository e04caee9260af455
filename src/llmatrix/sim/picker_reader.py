"""Reads the parts of an ``EndpointPickerConfig``, noting all that is wrong with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from llmatrix.sim import picker_handlers, plugin_parameters, yaml_nodes
from llmatrix.sim.node_reader import NodeReader, nearest
from llmatrix.sim.picker_handlers import Declared
from llmatrix.sim.plugin_types import Role, Status
from llmatrix.sim.plugins import PLUGINS
from llmatrix.sim.profiles import DEFAULT_WEIGHT, PickerConfig, ProfileConfig, Saturation, Used

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
_OF_PROFILES: Final = (Role.FILTER, Role.SCORER, Role.PICKER)


@dataclass(slots=True)
class PickerReader(NodeReader):
    """Reads one configuration."""

    declared: dict[str, Declared] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Names of plugins that are declared, but wrongly: references to them are no mistake."""

    def read(self, root: yaml.Node) -> PickerConfig | None:
        if not isinstance(root, yaml.MappingNode):
            self.wrong(root, f"a {KIND} is a mapping with apiVersion, kind and plugins")
            return None
        fields = dict(self.fields(root, _TOP, "the configuration"))
        self._identity(root, fields)
        for node in self.items(fields.get("plugins"), "plugins"):
            self._declare(node)
        profiles = [
            profile
            for node in self.items(fields.get("schedulingProfiles"), "schedulingProfiles")
            if (profile := self._profile(node)) is not None
        ]
        self._gates(fields.get("featureGates"))
        saturation = self._saturation(fields.get("saturationDetector"))
        at = fields.get("schedulingProfiles", root)
        self._unique(at, [name for name, _ in profiles])
        if not profiles:
            profiles.append(("default", self._everything()))
        read = tuple(self._scheduling_profile(name, used) for name, used in profiles)
        split = picker_handlers.disaggregation(self, self.declared, read, at)
        return None if self.problems else PickerConfig(read, split, saturation)

    # parts of the document

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
        if kind is None:
            if "type" not in fields:
                self.wrong(node, "the plugin has no type")
            return
        name = self.text(fields, "name") or kind
        if name in self.declared or name in self.broken:
            self.wrong(fields.get("name", node), f"plugin name '{name}' is used more than once")
            return
        plugin = PLUGINS.get(kind)
        if plugin is None or plugin.status is Status.REFUSED:
            self.broken.add(name)
            self.wrong(
                fields["type"],
                f"plugin type '{kind}' is unknown{nearest(kind, PLUGINS)}"
                if plugin is None
                else f"plugin '{kind}' is not simulated: {plugin.note}",
            )
            return
        parameters = plugin_parameters.read(self, plugin, node, fields.get("parameters"))
        self.declared[name] = Declared(plugin, Used(kind, name, parameters), node)

    def _profile(self, node: yaml.Node) -> tuple[str, list[Used]] | None:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a scheduling profile is a mapping with a name and plugins")
            return None
        fields = dict(self.fields(node, ("name", "plugins"), "a scheduling profile"))
        name = self.text(fields, "name")
        if not name:
            if "name" not in fields:
                self.wrong(node, "the scheduling profile has no name")
            return None
        used = []
        for item in self.items(fields.get("plugins"), "plugins"):
            plugin = self._reference(item)
            if plugin is not None:
                used.append(plugin)
        return name, used

    def _reference(self, node: yaml.Node) -> Used | None:
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "a profile's plugin is a mapping with a pluginRef")
            return None
        fields = dict(self.fields(node, ("pluginRef", "weight"), "a profile's plugin"))
        name = self.text(fields, "pluginRef")
        if not name and "pluginRef" not in fields:
            self.wrong(node, "the profile's plugin has no pluginRef")
        if not name or name in self.broken:
            return None
        declared = self.declared.get(name)
        if declared is None:
            known = nearest(name, self.declared) or "; declare it under plugins"
            self.wrong(fields["pluginRef"], f"pluginRef '{name}' names no declared plugin{known}")
            return None
        return replace(declared.used, weight=self._weight(fields.get("weight")))

    def _weight(self, node: yaml.Node | None) -> int:
        if node is None or yaml_nodes.is_null(node):
            return DEFAULT_WEIGHT
        value = self.wanted(node, yaml_nodes.integer(node), "weight: an integer")
        return DEFAULT_WEIGHT if value is None else value

    def _gates(self, node: yaml.Node | None) -> None:
        for item in self.items(node, "featureGates"):
            gate = yaml_nodes.text(item)
            if gate == "flowControl":
                self.wrong(item, "feature gate 'flowControl' is not simulated")
            elif gate != "dataLayer":
                known = nearest(str(gate), ("dataLayer", "flowControl"))
                self.wrong(item, f"feature gate '{gate}' is unknown{known}")

    def _saturation(self, node: yaml.Node | None) -> Saturation:
        names = ("queueDepthThreshold", "kvCacheUtilThreshold", "metricsStalenessThreshold")
        plain = Saturation()
        if node is None or yaml_nodes.is_null(node):
            return plain
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "saturationDetector is a mapping")
            return plain
        depth, usage, stale = 0, 0.0, 0.0
        for name, value in self.fields(node, names, "saturationDetector"):
            if name == names[0]:
                depth = self.wanted(value, yaml_nodes.integer(value), f"{name}: an integer") or 0
            elif name == names[1]:
                usage = self.wanted(value, yaml_nodes.number(value), f"{name}: a number") or 0.0
            else:
                seconds = plugin_parameters.duration_s(yaml_nodes.text(value) or "")
                stale = self.wanted(value, seconds, f"{name}: a duration, such as 150ms") or 0.0
        return Saturation(
            depth if depth > 0 else plain.queue_depth_threshold,
            usage if 0 < usage < 1 else plain.kv_cache_util_threshold,
            stale if stale > 0 else plain.metrics_staleness_threshold,
        )

    def _unique(self, at: yaml.Node, names: list[str]) -> None:
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.wrong(at, f"profile name '{name}' is used more than once")

    # what a profile gets when it does not say

    def _everything(self) -> list[Used]:
        return [d.used for d in self.declared.values() if d.plugin.role in _OF_PROFILES]

    def _scheduling_profile(self, name: str, used: list[Used]) -> ProfileConfig:
        def of(role: Role) -> list[Used]:
            return [u for u in used if PLUGINS[u.type].role is role]

        pickers = of(Role.PICKER)
        if len(pickers) > 1:
            self.wrong(
                self.declared[pickers[1].name].node,
                f"profile '{name}' has two pickers, '{pickers[0].name}' and '{pickers[1].name}'",
            )
        if not pickers:
            pickers = [d.used for d in self.declared.values() if d.plugin.role is Role.PICKER] or [
                Used("max-score-picker", "max-score-picker")
            ]
        filters = of(Role.FILTER) + [
            u for u in of(Role.SCORER) if u.parameters.get("enableFiltering")
        ]
        return ProfileConfig(name, tuple(filters), tuple(of(Role.SCORER)), pickers[0])
