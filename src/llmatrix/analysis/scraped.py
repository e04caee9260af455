"""What servers and picker said of themselves in the window, as a few figures and one check.

Counters count between the first and the last scrape of the window; one that fell tells nothing,
for its server was started anew. Names are those that the servers' makers publish: vLLM, SGLang,
llama.cpp; of pickers those of GAIE v1 and of llm-d-router v0.10.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmatrix.analysis.checks import Check, Verdict, share_verdict, unknown
from llmatrix.analysis.definitions import SCRAPED

LATE_SHARE: Final = 0.01
_LATE: Final = "llmatrix_sim_late_steps_total"
_STEPS: Final = "llmatrix_sim_step_lateness_seconds_count"
_USAGE: Final = ("vllm:kv_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio")
_WAITING: Final = (
    "vllm:num_requests_waiting",
    "sglang:num_queue_reqs",
    "llamacpp:requests_deferred",
)
_HITS: Final = ("vllm:prefix_cache_hits_total",)
_QUERIES: Final = ("vllm:prefix_cache_queries_total",)
_PREEMPTED: Final = ("vllm:num_preemptions_total",)
_OUTPUT: Final = (
    "vllm:generation_tokens_total",
    "sglang:generation_tokens_total",
    "llamacpp:tokens_predicted_total",
)
_PICKING: Final = (
    "inference_extension_scheduler_e2e_duration_seconds",
    "llm_d_epp_scheduler_e2e_duration_seconds",
)
_BELIEVED: Final = (
    "inference_extension_prefix_indexer_hit_ratio",
    "llm_d_epp_prefix_indexer_hit_ratio",
)
_MEANS: Final = (*_PICKING, *_BELIEVED)
NAMES: Final = frozenset(
    {
        *_USAGE, *_WAITING, *_HITS, *_QUERIES, *_PREEMPTED, *_OUTPUT, _LATE, _STEPS,
        *(f"{name}_{part}" for name in _MEANS for part in ("sum", "count")),
    }
)  # fmt: skip
"""Names of the scraped metrics that are looked at here."""

Floats = NDArray[np.float64]
Series = Mapping[tuple[str, str], Floats]
"""Server and metric to its values over the window, in time."""
Told = tuple[float | None, str]


def summarise(
    scraped: pa.Table | None,
    *,
    window_s: tuple[float, float],
    prefills: Collection[str] = (),
) -> dict[str, Told]:
    """Compute every metric of ``SCRAPED``; one that is None comes with the reason.

    Args:
        scraped: rows of ``SERVER_COLUMNS``; None where nothing was scraped.
        window_s: start and end of the window, in the rows' seconds.
        prefills: servers that prefill only: they answer nobody, so they are in no figure.
    """
    if scraped is None:
        return dict.fromkeys((each.name for each in SCRAPED), (None, "nothing was scraped"))
    sums, means = _series(scraped, window_s, prefills)
    usage, waiting = _of(means, _USAGE), _of(sums, _WAITING)
    hits, queries = _grown(sums, _HITS), _grown(sums, _QUERIES)
    told = {
        "kv_cache_usage_mean": _mean(each.mean() for each in usage),
        "kv_cache_usage_max": max((float(each.max()) for each in usage), default=None),
        "server_queue_mean": _mean(each.mean() for each in waiting),
        "server_queue_max": max((float(each.max()) for each in waiting), default=None),
        "server_prefix_hit_ratio": _ratio(_total(hits), _total(queries)),
        "server_preemptions": _total(_grown(sums, _PREEMPTED)),
        "server_output_spread": _spread(_grown(sums, _OUTPUT)),
        "picker_ms_mean": _times(_mean_of(sums, _PICKING), 1e3),
        "picker_prefix_hit_ratio": _mean_of(sums, _BELIEVED),
    }
    why = "no server or picker told it, or too few scrapes came within the window"
    return {name: (value, "" if value is not None else why) for name, value in told.items()}


def simulator_late(
    scraped: pa.Table | None, window_s: tuple[float, float], *, simulated: bool
) -> list[Check]:
    """Hold the simulators' steps that came late against their limit; nothing for real servers."""
    name, limit = "simulator_late", f"<= {LATE_SHARE:g} of steps"
    late = steps = None
    if scraped is not None:
        sums, _ = _series(scraped, window_s, ())
        late, steps = _total(_grown(sums, (_LATE,))), _total(_grown(sums, (_STEPS,)))
    if late is None or not steps:
        why = "the simulators' steps were not scraped twice within the window"
        return [unknown(name, limit, why)] if simulated else []
    verdict = share_verdict(round(steps), round(late), LATE_SHARE)
    advice = ""
    if verdict is not Verdict.PASS:
        advice = (
            "the simulator was starved: its figures are not those of its model; give it cores of "
            "its own, or lower the load"
        )
    return [Check(name, late / steps, limit, verdict, advice)]


def _series(
    scraped: pa.Table, window_s: tuple[float, float], without: Collection[str]
) -> tuple[Series, Series]:
    """Give the sum and the mean over labels of every known metric, server by server."""
    at = scraped["at_s"]
    kept = pc.and_(pc.greater_equal(at, window_s[0]), pc.less_equal(at, window_s[1]))
    kept = pc.and_(kept, pc.is_in(scraped["metric"], pa.array(sorted(NAMES), pa.string())))
    if without:
        others = pa.array(sorted(without), pa.string())
        kept = pc.and_(kept, pc.invert(pc.is_in(scraped["server"], others)))
    rows = (
        scraped.filter(kept)
        .group_by(["server", "metric", "at_s"])
        .aggregate([("value", "sum"), ("value", "mean")])
        .sort_by([("server", "ascending"), ("metric", "ascending"), ("at_s", "ascending")])
    )
    if not rows.num_rows:
        return {}, {}
    servers, metrics = rows["server"].to_pylist(), rows["metric"].to_pylist()
    keys = list(zip(servers, metrics, strict=True))
    cuts = [0, *(n for n in range(1, len(keys)) if keys[n] != keys[n - 1]), len(keys)]
    totals, means = rows["value_sum"].to_numpy(), rows["value_mean"].to_numpy()
    parts = [(keys[a], slice(a, b)) for a, b in pairwise(cuts)]
    return {key: totals[part] for key, part in parts}, {key: means[part] for key, part in parts}


def _of(series: Series, names: Iterable[str]) -> list[Floats]:
    """Give the series of metrics of one meaning, one for each server that tells any."""
    wanted = set(names)
    return [values for (_, metric), values in series.items() if metric in wanted]


def _grown(series: Series, names: Iterable[str]) -> list[float]:
    """Give by how much counters of one meaning grew, server by server."""
    whole = [each for each in _of(series, names) if each.size > 1 and np.all(np.diff(each) >= 0)]
    return [float(each[-1] - each[0]) for each in whole]


def _total(values: list[float]) -> float | None:
    return sum(values) if values else None


def _mean(values: Iterable[float]) -> float | None:
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _spread(values: list[float]) -> float | None:
    """Give the largest over the mean; nothing where all are zero."""
    total = _total(values)
    return max(values) * len(values) / total if total else None


def _mean_of(series: Series, names: Iterable[str]) -> float | None:
    """Give the mean of what a histogram counted within the window."""
    every = list(names)
    total = _total(_grown(series, [f"{name}_sum" for name in every]))
    return _ratio(total, _total(_grown(series, [f"{name}_count" for name in every])))
