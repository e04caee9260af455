"""The endpoint picker's plugins: which there are, and how truly each is simulated.

Types, parameters and defaults are those of the Gateway API Inference Extension v1.2.0
(``pkg/epp/scheduling/framework/plugins``) and of llm-d's inference scheduler (``pkg/plugins``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal


class Status(StrEnum):
    """How truly a plugin is simulated."""

    MODELLED = "modelled"
    """The same formula on the same inputs."""
    APPROXIMATED = "approximated"
    """Near to it; the note says what differs."""
    REFUSED = "refused"
    """Known, but a configuration with it cannot be simulated."""


class Role(StrEnum):
    """What a plugin does in a scheduling profile."""

    SCORER = "scorer"
    PICKER = "picker"
    FILTER = "filter"
    HANDLER = "profile handler"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a plugin and what it is when left out.

    Attributes:
        positive: whether the picker puts the default in place of a value that is not positive.
    """

    kind: Literal["integer", "boolean", "duration"]
    default: int | bool | float
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin type.

    Attributes:
        note: how it works, or what is not simulated.
    """

    type: str
    role: Role
    status: Status
    note: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


_MOST: Final = {"maxNumOfEndpoints": Parameter("integer", 1)}
_PREFIX: Final = {
    "autoTune": Parameter("boolean", default=True, positive=False),
    "blockSize": Parameter("integer", 64),
    "maxPrefixBlocksToMatch": Parameter("integer", 256),
    "lruCapacityPerServer": Parameter("integer", 31250),
}
_SCORERS: Final = (
    Plugin(
        "prefix-cache-scorer",
        Role.SCORER,
        Status.MODELLED,
        "share of the prompt's blocks that were routed to the replica before; token-id prompts, "
        "which the real picker refuses, count four bytes a token",
        _PREFIX,
    ),
    Plugin(
        "queue-scorer",
        Role.SCORER,
        Status.MODELLED,
        "waiting requests between the pool's least (1) and most (0)",
    ),
    Plugin(
        "kv-cache-utilization-scorer",
        Role.SCORER,
        Status.MODELLED,
        "1 - KV-cache usage",
    ),
    Plugin(
        "running-requests-size-scorer",
        Role.SCORER,
        Status.MODELLED,
        "running requests between the pool's least (1) and most (0); newer than v1.2.0",
    ),
    Plugin(
        "lora-affinity-scorer",
        Role.SCORER,
        Status.MODELLED,
        "no replica has adapters, so every replica scores 0",
    ),
    Plugin(
        "load-aware-scorer",
        Role.SCORER,
        Status.MODELLED,
        "0.5 with an empty queue, falling to 0 at `threshold` waiting requests (llm-d)",
        {"threshold": Parameter("integer", 128)},
    ),
    Plugin(
        "active-request-scorer",
        Role.SCORER,
        Status.APPROXIMATED,
        "requests in flight through this router against the busiest replica's (llm-d); they "
        "count until they end, `requestTimeout` is not applied",
        {"requestTimeout": Parameter("duration", 120.0)},
    ),
    Plugin(
        "session-affinity-scorer",
        Role.SCORER,
        Status.APPROXIMATED,
        "1 for the replica named in the cookie `llm-d-session` or the header `x-session-token` "
        "(llm-d); names are addresses, not pods",
        {"maxAge": Parameter("integer", 0, positive=False)},
    ),
)
_PICKERS: Final = (
    Plugin(
        "max-score-picker",
        Role.PICKER,
        Status.MODELLED,
        "a replica with the highest score, chosen at random among equals",
        _MOST,
    ),
    Plugin("random-picker", Role.PICKER, Status.MODELLED, "any replica, alike", _MOST),
    Plugin(
        "weighted-random-picker",
        Role.PICKER,
        Status.MODELLED,
        "at random in proportion to scores (A-Res); alike when all are 0",
        _MOST,
    ),
)
_HANDLERS: Final = (
    Plugin("single-profile-handler", Role.HANDLER, Status.MODELLED, "the only profile handles all"),
)


def _refused(role: Role, note: str, *types: str) -> tuple[Plugin, ...]:
    return tuple(Plugin(name, role, Status.REFUSED, note) for name in types)


_REFUSED: Final = (
    *_refused(
        Role.HANDLER,
        "prefill and decode on different replicas are not simulated",
        "pd-profile-handler",
        "disagg-profile-handler",
        "prefill-header-handler",
        "disagg-headers-handler",
        "always-disagg-pd-decider",
        "prefix-based-pd-decider",
    ),
    *_refused(
        Role.FILTER,
        "replicas have no roles or labels to filter by",
        "prefill-filter",
        "decode-filter",
        "encode-filter",
        "by-label",
        "by-label-selector",
        "label-selector-filter",
    ),
    *_refused(
        Role.HANDLER, "data-parallel ranks are not simulated", "data-parallel-profile-handler"
    ),
    *_refused(
        Role.SCORER,
        "latency prediction is not simulated",
        "slo-aware-routing",
        "predicted-latency-scorer",
        "latency-scorer",
    ),
    *_refused(Role.HANDLER, "latency prediction is not simulated", "slo-aware-profile-handler"),
    *_refused(
        Role.SCORER,
        "it is not simulated",
        "precise-prefix-cache-scorer",
        "no-hit-lru-scorer",
        "context-length-aware",
        "token-load-scorer",
    ),
    *_refused(
        Role.OTHER,
        "it is not simulated",
        "approx-prefix-cache-producer",
        "tokenizer",
        "token-producer",
        "metrics-data-source",
        "core-metrics-extractor",
        "models-data-source",
    ),
    *_refused(
        Role.OTHER,
        "it serves the real picker's conformance tests only",
        "header-based-testing-filter",
        "destination-endpoint-served-verifier",
    ),
)

PLUGINS: Final[Mapping[str, Plugin]] = {
    plugin.type: plugin for plugin in (*_SCORERS, *_PICKERS, *_HANDLERS, *_REFUSED)
}
"""Every plugin type that is known, with its status."""
