"""What a real endpoint picker would refuse in its configuration, found before it is started.

The document's rules are those of ``sim.picker_document``; beside them, a profile has one picker at
most. Parameters are the plugins' own and are left to them. Plugin types are those of GAIE and
llm-d that ``llmatrix.sim.plugins`` lists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import yaml

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.sim import yaml_nodes
from llmatrix.sim.node_reader import nearest
from llmatrix.sim.picker_document import Declaration, PickerDocument
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
_FOR_TESTS: Final = ("header-based-testing-filter", "destination-endpoint-served-verifier")
"""Types that GAIE registers for its own conformance tests, in every picker."""
_OPEN: Final = "llm-d.ai/v1alpha1"
"""Configurations of this group have fields and gates that come and go with the image."""
_EXTRACTORS: Final = frozenset({"core-metrics-extractor", "model-server-protocol-metrics"})
"""Plugins whose parameters say by what names the servers' load is read, engine by engine."""
_ENGINE: Final = "vllm"
_OWN: Final = {
    "vllm": ("vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"),
    "sglang": ("sglang:num_queue_reqs", "sglang:token_usage"),
}
"""What those pickers look for where nothing says so: requests that wait, and use of the cache."""


@dataclass(slots=True)
class _Reader(PickerDocument):
    """Reads one configuration as far as it is the same for every picker."""

    more: frozenset[str] = frozenset()
    types: dict[str, str] = field(default_factory=dict)
    """Declared name → type; "" for one that nobody knows."""

    def read(self, root: yaml.Node) -> None:
        fields = self.top(root)
        if fields is None:
            return
        for each in self.declarations(fields):
            self._declare(each)
        if not self.types and not self.problems:
            self.wrong(fields.get("plugins", root), "no plugin is declared under plugins")
        for name, items in self.profiles(fields):
            self._profile(name, items)

    def known(self, root: yaml.MappingNode) -> Mapping[str, yaml.Node]:
        loose = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
        version = loose.get("apiVersion")
        if version is not None and yaml_nodes.text(version) == _OPEN:
            return loose
        for _ in self.gates(loose):
            continue
        return super(_Reader, self).known(root)

    def _declare(self, each: Declaration) -> None:
        known = {*PLUGINS, *_FOR_TESTS, *self.more}
        self.types[each.name] = each.type if each.type in known else ""
        if each.type not in known:
            advice = nearest(each.type, sorted(known)) or (
                "; if the picker's image has it, add it to stack.router.plugins"
            )
            self.wrong(each.fields["type"], f"plugin type '{each.type}' is unknown{advice}")

    def _profile(self, name: str, items: Sequence[yaml.Node]) -> None:
        pickers: list[str] = []
        for item in items:
            kind = self._type_of(item)
            if kind in PLUGINS and PLUGINS[kind].role is Role.PICKER:
                pickers.append(kind)
                if len(pickers) == 2:  # noqa: PLR2004 - the second is one too many
                    told = f"'{pickers[0]}' and '{kind}'"
                    self.wrong(item, f"profile '{name}' has two pickers, {told}")

    def _type_of(self, node: yaml.Node) -> str:
        """Give the type of the plugin that a profile's entry names; "" where it is none."""
        named = self.reference(node)
        if named is None:
            return ""
        name, weight = named
        if weight is not None and yaml_nodes.number(weight) is None:
            self.wrong(weight, "this is not weight: a number")
        return self.types[name]


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


def is_late(config: FileText) -> bool:
    """Tell whether only pickers that know metrics by their configuration read this one."""
    try:
        document = yaml.safe_load(config.text)
    except yaml.YAMLError:
        return False
    return isinstance(document, dict) and document.get("apiVersion") == _OPEN


def reads(config: FileText) -> tuple[str, ...]:
    """Give the metrics of servers that a checked configuration's picker goes by; "" is none.

    Parameters that are not as the plugin wants them are the picker's to refuse.
    """
    plugins = yaml.safe_load(config.text)["plugins"]
    given = [each.get("parameters") for each in plugins if each["type"] in _EXTRACTORS]
    parameters = given[0] if given and isinstance(given[0], dict) else {}
    engine, engines = parameters.get("defaultEngine") or _ENGINE, parameters.get("engineConfigs")
    for each in engines if isinstance(engines, list) else ():
        if isinstance(each, dict) and each.get("name") == engine:
            return tuple(
                str(each.get(name) or "") for name in ("queuedRequestsSpec", "kvUsageSpec")
            )
    return _OWN.get(str(engine), ())


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
