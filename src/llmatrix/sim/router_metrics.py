"""What the router tells Prometheus; the picker's names where the picker has such a metric."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from typing import Final

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.exposition import Histogram, labels, sample

_POOL: Final = labels({"name": "simulated"})
_SCHEDULING: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_RATIO: Final = tuple(tenths / 10 for tenths in range(11))
_NEVER_S: Final = 1e9


class RouterMetrics:
    """The router's counters.

    Attributes:
        requests, errors: by model; errors also by status.
        scheduling: seconds that choosing a replica took.
        hit_ratio: share of a prompt's blocks that the chosen replica was believed to have.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.errors: Counter[tuple[str, int]] = Counter()
        self._decisions: Counter[tuple[str, str]] = Counter()
        self.scheduling = Histogram(
            "inference_extension_scheduler_e2e_duration_seconds",
            "End-to-end scheduling latency distribution in seconds.",
            "",
            _SCHEDULING,
        )
        self.hit_ratio = Histogram(
            "inference_extension_prefix_indexer_hit_ratio",
            "Ratio of prefix length matched to total prefix length in the cache lookup.",
            "",
            _RATIO,
        )

    def observe_prefix(self, matched: int, total: int) -> None:
        """Count one routed prompt's blocks."""
        self.hit_ratio.observe(matched / total)

    def decided(self, model: str, *, split: bool) -> None:
        """Count a request that may have been prefilled elsewhere, and whether it is."""
        self._decisions[model, "prefill-decode" if split else "decode-only"] += 1

    def render(self, endpoints: Collection[Endpoint], prefix_entries: int) -> str:
        """Render all of it."""
        return "".join(
            [
                *self._objectives(),
                *_pool(endpoints, prefix_entries),
                *_endpoints(endpoints),
                self.scheduling.render(),
                self.hit_ratio.render(),
            ]
        )

    def _objectives(self) -> list[str]:
        def pairs(model: str) -> str:
            return labels({"model_name": model, "target_model_name": model})

        return [
            sample(
                "inference_objective_request_total",
                "counter",
                "Requests, by model.",
                [(pairs(model), float(count)) for model, count in self.requests.items()],
            ),
            sample(
                "inference_objective_request_error_total",
                "counter",
                "Requests that failed in the router, by model and status.",
                [
                    (f'{pairs(model)},error_code="{status}"', float(count))
                    for (model, status), count in self.errors.items()
                ],
            ),
            sample(
                "llm_d_inference_scheduler_pd_decision_total",
                "counter",
                "Requests, by whether another replica prefills.",
                [
                    (labels({"model_name": model, "decision_type": decision}), float(count))
                    for (model, decision), count in self._decisions.items()
                ],
            ),
        ]


def _pool(endpoints: Collection[Endpoint], prefix_entries: int) -> list[str]:
    count = len(endpoints)
    usage = sum(endpoint.kv_usage for endpoint in endpoints) / max(1, count)
    waiting = sum(endpoint.waiting for endpoint in endpoints) / max(1, count)
    entries = [("", float(prefix_entries))]
    return [
        sample("inference_pool_ready_pods", "gauge", "Replicas.", [(_POOL, float(count))]),
        sample(
            "inference_pool_average_kv_cache_utilization",
            "gauge",
            "Mean KV-cache usage of the replicas.",
            [(_POOL, usage)],
        ),
        sample(
            "inference_pool_average_queue_size",
            "gauge",
            "Mean number of requests waiting at a replica.",
            [(_POOL, waiting)],
        ),
        sample("inference_extension_prefix_indexer_size", "gauge", "Prefix entries.", entries),
    ]


def _endpoints(endpoints: Collection[Endpoint]) -> list[str]:
    now = time.monotonic()
    named = [(labels({"endpoint": endpoint.address}), endpoint) for endpoint in endpoints]
    return [
        sample(
            "llmatrix_router_endpoint_requests_total",
            "counter",
            "Requests sent to each replica.",
            [(pairs, float(endpoint.requests)) for pairs, endpoint in named],
        ),
        sample(
            "llmatrix_router_endpoint_errors_total",
            "counter",
            "Requests that were lost on the way to or from each replica.",
            [(pairs, float(endpoint.errors)) for pairs, endpoint in named],
        ),
        sample(
            "llmatrix_router_endpoint_active_requests",
            "gauge",
            "Requests in flight to each replica.",
            [(pairs, float(endpoint.active)) for pairs, endpoint in named],
        ),
        sample(
            "llmatrix_router_endpoint_metrics_age_seconds",
            "gauge",
            "Age of each replica's load as the scorers see it.",
            [
                (pairs, now - endpoint.updated if endpoint.updated else _NEVER_S)
                for pairs, endpoint in named
            ],
        ),
    ]
