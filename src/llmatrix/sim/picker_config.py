"""Reads an ``EndpointPickerConfig`` file as the real endpoint picker does.

The rules are those of the Gateway API Inference Extension v1.2.0, ``pkg/epp/config/loader``:
strict fields, names that default to types, a default profile over all plugins, a default handler
and picker. Two things are stricter here: a parameter that its plugin does not have is refused,
where the real picker silently ignores it; so is whatever the simulated router cannot do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from llmatrix.sim import yaml_nodes
from llmatrix.sim.node_reader import NodeReader, nearest
from llmatrix.sim.plugins import PLUGINS, Parameter, Plugin, Role, Status
from llmatrix.sim.yaml_nodes import Problem

API_VERSIONS: Final = ("inference.networking.x-k8s.io/v1alpha1", "llm-d.ai/v1alpha1")
KIND: Final = "EndpointPickerConfig"
DEFAULT_WEIGHT: Final = 1
_TOP: Final = (
    "apiVersion",
    "kind",
    "plugins",
    "schedulingProfiles",
    "featureGates",
    "saturationDetector",
)
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GO_DURATION: Final = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")


class PickerConfigError(ValueError):
    """A configuration that the endpoint picker, or its simulation, would refuse.

    Attributes:
        problems: line, column and message of each thing that is wrong.
    """

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__(
            "\n".join(f"{file}:{line}:{column}: {what}" for line, column, what in self.problems)
        )


@dataclass(frozen=True, slots=True)
class Used:
    """One declared plugin as a profile uses it.

    Attributes:
        parameters: each of the type's parameters, defaults filled in.
        weight: of a scorer.
    """

    type: str
    name: str
    parameters: Mapping[str, int | bool | float]
    weight: int = DEFAULT_WEIGHT


@dataclass(frozen=True, slots=True)
class Saturation:
    """When the pool counts as saturated: it then drops requests that objectives mark sheddable.

    No request here has an objective, so none is ever dropped, as with the real picker.
    """

    queue_depth_threshold: int = 5
    kv_cache_util_threshold: float = 0.8
    metrics_staleness_threshold: float = 0.2


@dataclass(frozen=True, slots=True)
class PickerConfig:
    """What the router does with each request: the one profile's scorers and its picker."""

    scorers: tuple[Used, ...]
    picker: Used
    profile: str = "default"
    saturation: Saturation = Saturation()


RANDOM: Final = PickerConfig((), Used("random-picker", "random-picker", {"maxNumOfEndpoints": 1}))
"""What a router does that was given no configuration."""


def load(text: str, file: str = "EndpointPickerConfig") -> PickerConfig:
    """Read a configuration.

    Raises:
        PickerConfigError: with everything that is wrong, at its place in ``file``.
    """
    reader = _Reader()
    try:
        root = yaml_nodes.compose(text)
    except yaml_nodes.Unreadable as error:
        raise PickerConfigError(file, [error.problem]) from None
    config = None
    if root is None:
        reader.problems.append(Problem(1, 1, "the file is empty"))
    else:
        config = reader.read(root)
    if reader.problems or config is None:
        raise PickerConfigError(file, reader.problems)
    return config


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


@dataclass(slots=True)
class _Declared:
    plugin: Plugin
    used: Used
    node: yaml.Node


@dataclass(slots=True)
class _Reader(NodeReader):
    """Reads one configuration."""

    declared: dict[str, _Declared] = field(default_factory=dict)
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
        self._handlers(root, fields, profiles)
        if self.problems:
            return None
        name, used = profiles[0] if profiles else ("default", self._everything())
        return self._config(name, used, saturation)

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
        parameters = self._parameters(plugin, fields.get("parameters"))
        self.declared[name] = _Declared(plugin, Used(kind, name, parameters), node)

    def _parameters(self, plugin: Plugin, node: yaml.Node | None) -> dict[str, int | bool | float]:
        values = {name: parameter.default for name, parameter in plugin.parameters.items()}
        if node is None or yaml_nodes.is_null(node):
            return values
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, "parameters are a mapping")
            return values
        for name, value in self.fields(node, plugin.parameters, f"'{plugin.type}'", "parameter"):
            if not yaml_nodes.is_null(value):
                values[name] = self._parameter(name, plugin.parameters[name], value)
        return values

    def _parameter(self, name: str, parameter: Parameter, node: yaml.Node) -> int | bool | float:
        value: int | bool | float | None
        if parameter.kind == "duration":
            written = yaml_nodes.text(node)
            value = None if written is None else duration_s(written)
        elif parameter.kind == "boolean":
            value = yaml_nodes.boolean(node)
        else:
            value = yaml_nodes.integer(node)
        if value is None:
            example = ", such as 30s" if parameter.kind == "duration" else ""
            article = "an" if parameter.kind == "integer" else "a"
            self.wrong(node, f"parameter '{name}' must be {article} {parameter.kind}{example}")
            return parameter.default
        return parameter.default if parameter.positive and value <= 0 else value

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
                seconds = duration_s(yaml_nodes.text(value) or "")
                stale = self.wanted(value, seconds, f"{name}: a duration, such as 150ms") or 0.0
        return Saturation(
            depth if depth > 0 else plain.queue_depth_threshold,
            usage if 0 < usage < 1 else plain.kv_cache_util_threshold,
            stale if stale > 0 else plain.metrics_staleness_threshold,
        )

    def _handlers(
        self,
        root: yaml.Node,
        fields: Mapping[str, yaml.Node],
        profiles: list[tuple[str, list[Used]]],
    ) -> None:
        handlers = [d for d in self.declared.values() if d.plugin.role is Role.HANDLER]
        if len(handlers) > 1:
            first, second = (handler.used.name for handler in handlers[:2])
            self.wrong(
                handlers[1].node,
                f"only one profile handler is allowed; '{first}' and '{second}' both are",
            )
        names = [name for name, _ in profiles]
        at = fields.get("schedulingProfiles", root)
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.wrong(at, f"profile name '{name}' is used more than once")
        if len(profiles) > 1:
            self.wrong(
                at,
                "several scheduling profiles need a profile handler that chooses between them, "
                "and none such is simulated; single-profile-handler takes one profile",
            )

    # what a profile gets when it does not say

    def _everything(self) -> list[Used]:
        return [d.used for d in self.declared.values() if d.plugin.role is not Role.HANDLER]

    def _config(self, name: str, used: list[Used], saturation: Saturation) -> PickerConfig | None:
        scorers = tuple(u for u in used if PLUGINS[u.type].role is Role.SCORER)
        pickers = [u for u in used if PLUGINS[u.type].role is Role.PICKER]
        if len(pickers) > 1:
            self.wrong(
                self.declared[pickers[1].name].node,
                f"profile '{name}' has two pickers, '{pickers[0].name}' and '{pickers[1].name}'",
            )
            return None
        if not pickers:
            pickers = [d.used for d in self.declared.values() if d.plugin.role is Role.PICKER] or [
                Used("max-score-picker", "max-score-picker", {"maxNumOfEndpoints": 1})
            ]
        return PickerConfig(scorers, pickers[0], name, saturation)
