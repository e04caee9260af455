"""The figures of one trial, from its rows: each defined once, here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmatrix.analysis.percentiles import percentile

Floats = NDArray[np.float64]


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


_LATENCIES: Final = {
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
_STATISTICS: Final = {
    "mean": "Mean",
    "p50": "Median",
    "p90": "90th percentile",
    "p99": "99th percentile",
}
_QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

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


def _latency_metrics() -> list[Metric]:
    return [
        Metric(
            f"{name}_{suffix}",
            f"{title}, {words.lower()}",
            "ms",
            f"{words} over the window's completed requests: {definition}.",
            "lower",
        )
        for name, (title, definition) in _LATENCIES.items()
        for suffix, words in _STATISTICS.items()
    ]


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric for metric in [*_latency_metrics(), *_RATES]
}
"""Every metric by its name, in the order of reports."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one trial.

    Attributes:
        metrics: every name of ``METRICS``.
        withheld: for each figure that is None, the reason.
    """

    metrics: dict[str, float | None]
    withheld: dict[str, str]


Told = tuple[float | None, str]


def summarise(requests: pa.Table, *, window_s: tuple[float, float], accelerators: int) -> Summary:
    """Compute every metric of ``METRICS``.

    Args:
        requests: the rows of all phases (columns of ``REQUEST_COLUMNS``): latencies come from the
            completed requests scheduled in the window; throughputs and concurrency from what
            happened in the window, whichever phase its request belongs to.
        window_s: start and end of the window, in the rows' seconds.
        accelerators: of the deployment; 0 where there are none or nobody knows.
    """
    window = requests.filter(pc.equal(requests["phase"], "window"))
    completed = window.filter(pc.is_null(window["error"]))
    told: dict[str, Told] = {}
    for name in _LATENCIES:
        told |= _latency(name, completed)
    told["requests_completed"] = (float(completed.num_rows), "")
    told["requests_failed"] = (float(window.num_rows - completed.num_rows), "")
    told |= _throughput(requests, window_s)
    told |= _per_share(told, accelerators)
    told["prefix_cache_hit_ratio"] = _hit_ratio(completed)
    told["server_share_max"] = _share(completed)
    told["concurrency_mean"] = (concurrency_mean(requests, window_s), "")
    return Summary(
        {name: told[name][0] for name in METRICS},
        {name: told[name][1] for name in METRICS if told[name][0] is None},
    )


def floats(column: pa.ChunkedArray) -> Floats:
    """Give a column as float64; nulls become NaN."""
    found: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _latency(name: str, completed: pa.Table) -> dict[str, Told]:
    column = completed[name]
    independent = None
    if name == "itl_ms":
        lengths = floats(pc.list_value_length(column))
        independent = int(np.count_nonzero(lengths > 0))
        column = pc.list_flatten(column)
    values = floats(column)
    values = values[~np.isnan(values)]
    if not values.size:
        why = "no request of the window completed"
        if completed.num_rows:
            why = "no completed request has this figure (it needs two tokens, or two events)"
        return {f"{name}_{suffix}": (None, why) for suffix in _STATISTICS}
    found: dict[str, Told] = {f"{name}_mean": (float(values.mean()), "")}
    for suffix, q in _QUANTILES.items():
        found[f"{name}_{suffix}"] = percentile(values, q, independent=independent)
    return found


def _throughput(requests: pa.Table, window_s: tuple[float, float]) -> dict[str, Told]:
    start, end = window_s
    seconds = end - start
    last, first = floats(requests["last_token_s"]), floats(requests["first_token_s"])
    completed = pc.is_null(requests["error"]).to_numpy(zero_copy_only=False)
    ended = completed & (last >= start) & (last < end)
    prompt = floats(pc.coalesce(requests["prompt_tokens"], requests["prompt_tokens_asked"]))
    begun = (first >= start) & (first < end)
    return {
        "requests_per_s": (float(np.count_nonzero(ended)) / seconds, ""),
        "input_tokens_per_s": (float(prompt[begun].sum()) / seconds, ""),
        "output_tokens_per_s": (float(tokens_delivered(requests, window_s)) / seconds, ""),
    }


def tokens_delivered(requests: pa.Table, window_s: tuple[float, float]) -> float:
    """Count the output tokens that arrived within the window.

    The arrivals of a request's events are its first token's and the running sum of its gaps; each
    event carries ``output_tokens / chunks`` tokens.
    """
    start, end = window_s
    begun = requests.filter(pc.is_valid(requests["first_token_s"]))
    if not begun.num_rows:
        return 0.0
    gaps = begun["itl_ms"].combine_chunks()
    lengths = np.nan_to_num(floats(pc.list_value_length(begun["itl_ms"]))).astype(np.int64)
    flat = floats(pa.chunked_array([pc.list_flatten(gaps)])) / 1e3
    first = floats(begun["first_token_s"])
    weight = floats(begun["output_tokens"]) / np.maximum(1, lengths + 1)
    weight = np.nan_to_num(weight)
    total = float(weight[(first >= start) & (first < end)].sum())
    running = np.concatenate([[0.0], np.cumsum(flat)])
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    since_first = running[1:] - np.repeat(running[starts], lengths)
    arrivals = np.repeat(first, lengths) + since_first
    within = (arrivals >= start) & (arrivals < end)
    return total + float(np.repeat(weight, lengths)[within].sum())


def _per_share(told: dict[str, Told], accelerators: int) -> dict[str, Told]:
    output, tpot = told["output_tokens_per_s"][0], told["tpot_ms_p50"]
    none = "the number of accelerators is 0 or not known"
    per = (output / accelerators, "") if accelerators and output is not None else (None, none)
    user: Told = (None, tpot[1])
    if tpot[0] is not None:
        user = (1e3 / tpot[0], "") if tpot[0] > 0 else (None, "the median tpot_ms is 0")
    return {"output_tokens_per_s_per_accelerator": per, "output_tokens_per_s_per_user": user}


def _hit_ratio(completed: pa.Table) -> Told:
    known = completed.filter(
        pc.and_(pc.is_valid(completed["cached_tokens"]), pc.is_valid(completed["prompt_tokens"]))
    )
    prompt = pc.sum(known["prompt_tokens"]).as_py()
    if not prompt:
        return None, "the server does not say how many prompt tokens came from its cache"
    return pc.sum(known["cached_tokens"]).as_py() / prompt, ""


def _share(completed: pa.Table) -> Told:
    servers = Counter(name for name in completed["server"].to_pylist() if name is not None)
    if not servers:
        return None, "no response header tells which replica answered"
    return max(servers.values()) / servers.total(), ""


def concurrency_mean(requests: pa.Table, window_s: tuple[float, float]) -> float:
    """Average over the window's time how many requests were in flight, from send to end."""
    start, end = window_s
    sent, ended = floats(requests["sent_s"]), floats(requests["end_s"])
    spans = np.minimum(ended, end) - np.maximum(sent, start)
    return float(np.nansum(np.maximum(spans, 0.0)) / (end - start))
