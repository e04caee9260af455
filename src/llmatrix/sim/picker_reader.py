"""Reads the parts of an ``EndpointPickerConfig``, noting all that is wrong with its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from llmatrix.sim import picker_handlers, plugin_parameters, yaml_nodes
from llmatrix.sim.node_reader import nearest
from llmatrix.sim.picker_document import Declaration, PickerDocument
from llmatrix.sim.picker_handlers import Declared
from llmatrix.sim.plugin_types import Role, Status
from llmatrix.sim.plugins import PLUGINS
from llmatrix.sim.profiles import DEFAULT_WEIGHT, PickerConfig, ProfileConfig, Saturation, Used

_OF_PROFILES: Final = (Role.FILTER, Role.SCORER, Role.PICKER)


@dataclass(slots=True)
class PickerReader(PickerDocument):
    """Reads one configuration."""

    declared: dict[str, Declared] = field(default_factory=dict)
    """Of the plugins that are declared, those that can be simulated, and rightly."""

    def read(self, root: yaml.Node) -> PickerConfig | None:
        fields = self.top(root)
        if fields is None:
            return None
        for each in self.declarations(fields):
            self._declare(each)
        profiles = [
            (name, [used for item in items if (used := self._used(item)) is not None])
            for name, items in self.profiles(fields)
        ]
        for gate, item in self.gates(fields):
            if gate == "flowControl":
                self.wrong(item, "feature gate 'flowControl' is not simulated")
        saturation = self._saturation(fields.get("saturationDetector"))
        if not profiles:
            profiles.append(("default", self._everything()))
        read = tuple(self._scheduling_profile(name, used) for name, used in profiles)
        at = fields.get("schedulingProfiles", root)
        split = picker_handlers.disaggregation(self, self.declared, read, at)
        return None if self.problems else PickerConfig(read, split, saturation)

    # parts of the document

    def _declare(self, each: Declaration) -> None:
        plugin = PLUGINS.get(each.type)
        if plugin is None or plugin.status is Status.REFUSED:
            self.wrong(
                each.fields["type"],
                f"plugin type '{each.type}' is unknown{nearest(each.type, PLUGINS)}"
                if plugin is None
                else f"plugin '{each.type}' is not simulated: {plugin.note}",
            )
            return
        parameters = plugin_parameters.read(self, plugin, each.node, each.fields.get("parameters"))
        self.declared[each.name] = Declared(
            plugin, Used(each.type, each.name, parameters), each.node
        )

    def _used(self, node: yaml.Node) -> Used | None:
        """Give the plugin of a profile; None also for one that was declared wrongly."""
        named = self.reference(node)
        declared = None if named is None else self.declared.get(named[0])
        if named is None or declared is None:
            return None
        return replace(declared.used, weight=self._weight(named[1]))

    def _weight(self, node: yaml.Node | None) -> int:
        if node is None or yaml_nodes.is_null(node):
            return DEFAULT_WEIGHT
        value = self.wanted(node, yaml_nodes.integer(node), "weight: an integer")
        return DEFAULT_WEIGHT if value is None else value

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
