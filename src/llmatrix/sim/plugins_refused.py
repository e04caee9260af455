"""The endpoint picker's plugins that are known and refused, each with the reason."""

from __future__ import annotations

from typing import Final

from llmatrix.sim.plugin_types import Plugin, Role, Status


def _refused(role: Role, note: str, *types: str) -> tuple[Plugin, ...]:
    return tuple(Plugin(name, role, Status.REFUSED, note) for name in types)


_LATENCY: Final = "latency prediction is not simulated"
_FLOW: Final = "it belongs to flow control, which is not simulated"
REFUSED: Final = (
    *_refused(
        Role.HANDLER, "data-parallel ranks are not simulated", "data-parallel-profile-handler"
    ),
    *_refused(Role.HANDLER, _LATENCY, "slo-aware-profile-handler"),
    *_refused(
        Role.DECIDER,
        "prompts have text only; nothing is encoded",
        "always-disagg-multimodal-decider",
    ),
    *_refused(
        Role.SCORER, _LATENCY, "slo-aware-routing", "predicted-latency-scorer", "latency-scorer"
    ),
    *_refused(Role.FILTER, _LATENCY, "slo-headroom-tier-filter", "prefix-cache-affinity-filter"),
    *_refused(
        Role.SCORER,
        "replicas publish no events of their KV cache",
        "precise-prefix-cache-scorer",
    ),
    *_refused(
        Role.OTHER, "replicas publish no events of their KV cache", "precise-prefix-cache-producer"
    ),
    *_refused(Role.SCORER, "tokens in flight are not counted by the router", "token-load-scorer"),
    *_refused(Role.SCORER, "prompts have text only", "mm-embeddings-cache-scorer"),
    *_refused(
        Role.OTHER,
        "what it collects is always collected here; leave it out",
        "approx-prefix-cache-producer",
        "inflight-load-producer",
        "session-id-producer",
        "metrics-data-source",
        "core-metrics-extractor",
        "models-data-source",
        "models-data-extractor",
        "k8s-notification-source",
        "endpoint-notification-source",
        "openai-parser",
    ),
    *_refused(
        Role.OTHER,
        "it is not simulated",
        "tokenizer",
        "token-producer",
        "mm-embeddings-cache-producer",
        "predicted-latency-producer",
        "latency-slo-admitter",
        "probabilistic-admitter",
        "request-attribute-reporter",
        "anthropic-parser",
        "vllmgrpc-parser",
        "vllmhttp-parser",
        "passthrough-parser",
        "vertexai-parser",
        "file-discovery",
        "agent-identity",
    ),
    *_refused(
        Role.OTHER,
        _FLOW,
        "global-strict-fairness-policy",
        "round-robin-fairness-policy",
        "program-aware-fairness",
        "fcfs-ordering-policy",
        "edf-ordering-policy",
        "slo-deadline-ordering-policy",
        "static-usage-limit-policy",
        "concurrency-detector",
        "utilization-detector",
    ),
    *_refused(
        Role.OTHER,
        "it serves the real picker's conformance tests only",
        "header-based-testing-filter",
        "destination-endpoint-served-verifier",
    ),
)
"""Every type that a configuration cannot have here."""
