"""The endpoint picker's plugins: which there are, and how truly each is simulated.

Types, parameters and defaults are those of the Gateway API Inference Extension v1.2.0
(``pkg/epp/scheduling/framework/plugins``) and of llm-d's inference scheduler v0.4 to v0.6
(``pkg/plugins``), now llm-d-router v0.9 (``pkg/epp/framework/plugins``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmatrix.sim.plugin_types import Parameter, Plugin, Role, Status
from llmatrix.sim.plugins_refused import REFUSED

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
        "count until they end: `requestTimeout` is not applied, as in v0.9",
        {
            "requestTimeout": Parameter("duration", 120.0),
            "idleThreshold": Parameter("integer", 0, positive=False),
            "maxBusyScore": Parameter("number", 1.0, positive=False),
        },
    ),
    Plugin(
        "session-affinity-scorer",
        Role.SCORER,
        Status.APPROXIMATED,
        "1 for the replica named in the cookie `llm-d-session` or the header `headerName` "
        "(llm-d); names are addresses, not pods",
        {
            "maxAge": Parameter("integer", 0, positive=False),
            "headerName": Parameter("text", "x-session-token"),
        },
    ),
    Plugin(
        "no-hit-lru-scorer",
        Role.SCORER,
        Status.MODELLED,
        "a request of which no replica has a cached block prefers the replica that was longest "
        "without such a request; 0.5 for all others (llm-d)",
        {
            "prefixPluginType": Parameter("text", "prefix-cache-scorer"),
            "prefixPluginName": Parameter("text", "prefix-cache-scorer"),
            "lruSize": Parameter("integer", 1024),
        },
    ),
    Plugin(
        "context-length-aware",
        Role.SCORER,
        Status.APPROXIMATED,
        "how well the range in the replica's label suits the prompt, whose tokens are taken to "
        "have four bytes; no tokenizer is asked (llm-d v0.9)",
        {
            "label": Parameter("text", "llm-d.ai/context-length-range"),
            "enableFiltering": Parameter("boolean", default=False, positive=False),
        },
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
_ROLES: Final = "by the label `llm-d.ai/role` (llm-d)"
_SELECTOR: Final = {
    "matchLabels": Parameter("selector", ()),
    "matchExpressions": Parameter("selector", ()),
}
_FILTERS: Final = (
    Plugin(
        "decode-filter",
        Role.FILTER,
        Status.MODELLED,
        f"replicas that decode, or have no role, {_ROLES}",
    ),
    Plugin("prefill-filter", Role.FILTER, Status.MODELLED, f"replicas that prefill, {_ROLES}"),
    Plugin("encode-filter", Role.FILTER, Status.MODELLED, f"replicas that encode, {_ROLES}"),
    Plugin(
        "by-label",
        Role.FILTER,
        Status.MODELLED,
        "replicas whose label has one of the values (llm-d)",
        {
            "label": Parameter("text", required=True),
            "validValues": Parameter("texts", ()),
            "allowsNoLabel": Parameter("boolean", default=False, positive=False),
        },
    ),
    Plugin(
        "label-selector-filter",
        Role.FILTER,
        Status.MODELLED,
        "replicas that a Kubernetes label selector selects (llm-d v0.9)",
        _SELECTOR,
    ),
    Plugin(
        "by-label-selector",
        Role.FILTER,
        Status.MODELLED,
        "as `label-selector-filter`, its older name (llm-d)",
        _SELECTOR,
    ),
    Plugin(
        "session-affinity-filter",
        Role.FILTER,
        Status.APPROXIMATED,
        "only the replica that the session's header names, if it is there (llm-d v0.9); names are "
        "addresses, not pods",
        {"headerName": Parameter("text", "x-session-token")},
    ),
)
_HANDLERS: Final = (
    Plugin("single-profile-handler", Role.HANDLER, Status.MODELLED, "the only profile handles all"),
    Plugin(
        "pd-profile-handler",
        Role.HANDLER,
        Status.APPROXIMATED,
        "the decode profile first, then, if enough of the prompt is not cached there, the prefill "
        "profile (llm-d); a token is taken to have four bytes. With `threshold` in bytes as in "
        "v0.4, or the decider that `deciderPluginName` names as from v0.5 on; data parallelism "
        "(`primaryPort`) is refused",
        {
            "decodeProfile": Parameter("text", "decode"),
            "prefillProfile": Parameter("text", "prefill"),
            "prefixPluginType": Parameter("text", "prefix-cache-scorer"),
            "prefixPluginName": Parameter("text", "prefix-cache-scorer"),
            "threshold": Parameter("integer", 0),
            "hashBlockSize": Parameter("integer", 64),
            "deciderPluginName": Parameter("text", "always-disagg-pd-decider"),
            "primaryPort": Parameter("integer", 0, positive=False),
        },
    ),
    Plugin(
        "disagg-profile-handler",
        Role.HANDLER,
        Status.APPROXIMATED,
        "as `pd-profile-handler` with the decider that `deciders.prefill` names, and without one "
        "never (llm-d v0.9); encoding elsewhere is refused",
        {"profiles": Parameter("names", ()), "deciders": Parameter("names", ())},
    ),
)
_DECIDERS: Final = (
    Plugin(
        "always-disagg-pd-decider",
        Role.DECIDER,
        Status.MODELLED,
        "every prompt, whatever its length",
    ),
    Plugin(
        "prefix-based-pd-decider",
        Role.DECIDER,
        Status.APPROXIMATED,
        "prompts of which at least `nonCachedTokens` are believed not to be cached at the decode "
        "replica, of four bytes each; 0 means never, as in v0.9 (before it, always)",
        {"nonCachedTokens": Parameter("integer", 0, positive=False)},
    ),
)
_HEADERS: Final = tuple(
    Plugin(
        name,
        Role.HEADERS,
        Status.MODELLED,
        "names the prefill replica in the header `x-prefiller-host-port` (llm-d); "
        "`pd-profile-handler` needs it, `disagg-profile-handler` does it itself",
        {
            "prefillProfile": Parameter("text", "prefill"),
            "encodeProfile": Parameter("text", "encode"),
        },
    )
    for name in ("prefill-header-handler", "disagg-headers-handler")
)

PLUGINS: Final[Mapping[str, Plugin]] = {
    plugin.type: plugin
    for plugin in (
        *_SCORERS,
        *_PICKERS,
        *_FILTERS,
        *_HANDLERS,
        *_DECIDERS,
        *_HEADERS,
        *REFUSED,
    )
}
"""Every plugin type that is known, with its status."""
