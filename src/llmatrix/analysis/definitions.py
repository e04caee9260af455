"""What every metric means: name, unit, definition and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """What a figure means.

    Attributes:
        name: as in ``Record.metrics``, with its unit.
        title: as in a heading.
        unit: of the figure; ``""`` for a plain number.
        definition: one sentence.
        better: which way is better; ``neither`` for figures that describe.
    """

    name: str
    title: str
    unit: str
    definition: str
    better: Literal["lower", "higher", "neither"]


LATENCIES: Final = {
    "ttft_ms": (
        "Time to first token",
        "from the moment for which the request was scheduled to its first event with content",
    ),
    "ttft_from_send_ms": (
        "Time to first token from send",
        "from the send of the request to its first event with content",
    ),
    "tpot_ms": (
        "Time per output token",
        "(last token - first token) / (output tokens - 1), one value for each request",
    ),
    "itl_ms": (
        "Inter-token latency",
        (
            "gap between successive events with content, all gaps of all requests pooled; the "
            "sample size counts requests, since gaps of one answer depend on each other"
        ),
    ),
    "e2e_ms": (
        "End-to-end latency",
        "from the moment for which the request was scheduled to its last event with content",
    ),
}
STATISTICS: Final = {
    "mean": "Mean",
    "p50": "Median",
    "p90": "90th percentile",
    "p99": "99th percentile",
}
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

_RATES: Final = (
    Metric(
        "requests_per_s",
        "Completed requests",
        "1/s",
        "Requests of any phase whose last token came within the window without an error, per "
        "second of the window.",
        "higher",
    ),
    Metric(
        "requests_completed",
        "Requests completed",
        "",
        "Requests scheduled in the window that ended without an error.",
        "neither",
    ),
    Metric(
        "requests_failed",
        "Requests failed",
        "",
        "Requests scheduled in the window that ended with an error.",
        "lower",
    ),
    Metric(
        "input_tokens_per_s",
        "Input throughput",
        "tokens/s",
        "Prompt tokens (as the server counted, else as asked) of the requests whose first token "
        "came within the window, per second of the window.",
        "higher",
    ),
    Metric(
        "output_tokens_per_s",
        "Output throughput",
        "tokens/s",
        "Output tokens delivered within the window, per second of the window: every event with "
        "content that arrived in it counts, of requests of any phase and outcome, weighted by its "
        "request's tokens per event.",
        "higher",
    ),
    Metric(
        "output_tokens_per_s_per_accelerator",
        "Output throughput per accelerator",
        "tokens/s",
        "output_tokens_per_s divided by the accelerators of the deployment.",
        "higher",
    ),
    Metric(
        "output_tokens_per_s_per_user",
        "Output speed for one user",
        "tokens/s",
        "1000 / tpot_ms_p50: how fast the median answer streams once it has begun.",
        "higher",
    ),
    Metric(
        "prefix_cache_hit_ratio",
        "Prefix cache hits",
        "",
        "Prompt tokens served from the prefix cache over all prompt tokens, over the completed "
        "requests of the window, as the server counts both.",
        "higher",
    ),
    Metric(
        "server_share_max",
        "Share of the busiest replica",
        "",
        "Largest share of the window's answered requests that one replica answered.",
        "lower",
    ),
    Metric(
        "concurrency_mean",
        "Requests in flight",
        "",
        "Requests in flight (from send to end, of any phase), averaged over the window's time.",
        "neither",
    ),
)

SCRAPED: Final = (
    Metric(
        "kv_cache_usage_mean",
        "KV cache in use",
        "",
        "Share of the KV cache in use, averaged over the scrapes of the window and over servers.",
        "neither",
    ),
    Metric(
        "kv_cache_usage_max",
        "KV cache in use, at most",
        "",
        "Largest share of its KV cache that any server had in use at a scrape of the window.",
        "neither",
    ),
    Metric(
        "server_queue_mean",
        "Requests waiting in a server",
        "",
        "Requests that waited in one server, averaged over the scrapes of the window and over "
        "servers.",
        "lower",
    ),
    Metric(
        "server_queue_max",
        "Requests waiting in a server, at most",
        "",
        "Most requests that waited in one server at a scrape of the window.",
        "lower",
    ),
    Metric(
        "server_prefix_hit_ratio",
        "Prefix cache hits, as the servers count",
        "",
        "Prompt tokens found in the servers' prefix caches over those looked up, between the first "
        "and the last scrape of the window.",
        "higher",
    ),
    Metric(
        "server_preemptions",
        "Preemptions",
        "",
        "Requests that servers preempted for want of KV cache, between the first and the last "
        "scrape of the window.",
        "lower",
    ),
    Metric(
        "server_output_spread",
        "Output of the busiest server",
        "",
        "Output tokens of the busiest server over those of the mean server, between the first and "
        "the last scrape of the window: 1 where all have the same.",
        "lower",
    ),
    Metric(
        "picker_ms_mean",
        "Time to pick a server",
        "ms",
        "Mean time that the endpoint picker took to choose, as it counts.",
        "lower",
    ),
    Metric(
        "picker_prefix_hit_ratio",
        "Prefix hits that the picker believes in",
        "",
        "Mean share of a prompt's blocks that the picker believed to be in a server's cache.",
        "higher",
    ),
)
"""Told by the servers and the picker themselves; servers that prefill only are in none."""


def _latency_metrics() -> list[Metric]:
    return [
        Metric(
            f"{name}_{suffix}",
            f"{title}, {words.lower()}",
            "ms",
            f"{words} over the window's completed requests: {definition}.",
            "lower",
        )
        for name, (title, definition) in LATENCIES.items()
        for suffix, words in STATISTICS.items()
    ]


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric for metric in [*_latency_metrics(), *_RATES, *SCRAPED]
}
"""Every metric by its name, in the order of reports."""
