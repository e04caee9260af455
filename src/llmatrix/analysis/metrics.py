"""The figures of one trial, from its rows: each defined once, here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmatrix.analysis import scraped as of_servers
from llmatrix.analysis.definitions import LATENCIES, METRICS, QUANTILES, STATISTICS, Metric
from llmatrix.analysis.percentiles import percentile

__all__ = ["METRICS", "Metric", "Summary", "concurrency_mean", "summarise", "tokens_delivered"]

Floats = NDArray[np.float64]


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


def summarise(
    requests: pa.Table,
    *,
    window_s: tuple[float, float],
    accelerators: int,
    scraped: pa.Table | None = None,
    prefills: Collection[str] = (),
) -> Summary:
    """Compute every metric of ``METRICS``.

    Args:
        requests: the rows of all phases (columns of ``REQUEST_COLUMNS``): latencies come from the
            completed requests scheduled in the window; throughputs and concurrency from what
            happened in the window, whichever phase its request belongs to.
        window_s: start and end of the window, in the rows' seconds.
        accelerators: of the deployment; 0 where there are none or nobody knows.
        scraped: rows of ``SERVER_COLUMNS``; None where nothing was scraped.
        prefills: of the scraped servers, those that prefill only.
    """
    window = requests.filter(pc.equal(requests["phase"], "window"))
    completed = window.filter(pc.is_null(window["error"]))
    told: dict[str, Told] = {}
    for name in LATENCIES:
        told |= _latency(name, completed)
    told["requests_completed"] = (float(completed.num_rows), "")
    told["requests_failed"] = (float(window.num_rows - completed.num_rows), "")
    told |= _throughput(requests, window_s)
    told |= _per_share(told, accelerators)
    told["prefix_cache_hit_ratio"] = _hit_ratio(completed)
    told["server_share_max"] = _share(completed)
    told["concurrency_mean"] = (concurrency_mean(requests, window_s), "")
    told |= of_servers.summarise(scraped, window_s=window_s, prefills=prefills)
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
        return {f"{name}_{suffix}": (None, why) for suffix in STATISTICS}
    found: dict[str, Told] = {f"{name}_mean": (float(values.mean()), "")}
    for suffix, q in QUANTILES.items():
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
