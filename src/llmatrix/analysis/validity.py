"""Can this trial's figures be trusted? Named checks, each a figure against a limit.

A check with too few samples does not fail: where a limit is on a share of requests, it fails only
if chance alone (binomial, 1%) does not explain what was seen.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.analysis.metrics import Floats, concurrency_mean, floats
from llmatrix.analysis.percentiles import samples_needed
from llmatrix.analysis.steady import Trend, backlog_growth, latency_trend

DISPATCH_LAG_MS: Final = 5.0
DISPATCH_LAG_SHARE: Final = 0.05
LOOP_LAG_MS: Final = 10.0
CLIENT_CPU: Final = 0.8
RATE_TOLERANCE: Final = 0.02
CONCURRENCY_SHARE: Final = 0.95
CONSTANT_CV: Final = 0.15
JITTER_CV: Final = 0.05
ERROR_SHARE: Final = 0.01
EXACT_SHARE: Final = 0.99
TREND_FAIL: Final = 0.3
TREND_WARN: Final = 0.1
BACKLOG_SHARE: Final = 0.05
REOPENED_SHARE: Final = 0.1
TEMPLATE_TOKENS: Final = 2
_CHANCE: Final = 0.01
_Z: Final = 3.29
_FEWEST_GAPS: Final = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """The load that the trial asked for; exactly one of ``rate`` and ``concurrency`` is set."""

    rate: float | None = None
    arrivals: Literal["poisson", "constant"] = "poisson"
    concurrency: int | None = None
    api: Literal["completions", "chat"] = "completions"


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen beside the requests; None where nobody can tell.

    Attributes:
        loop_lag_ms_p99, client_cpu, connections_opened: as in the harness's ``Measurement``.
        cache_clean, cache_detail: as in the stack's ``Hygiene``.
        restarts: servers that ended since they were applied.
    """

    loop_lag_ms_p99: float | None = None
    client_cpu: float | None = None
    connections_opened: int | None = None
    cache_clean: bool | None = None
    cache_detail: str = ""
    restarts: int = 0


def judge(
    requests: pa.Table, *, window_s: tuple[float, float], asked: Asked, observed: Observed
) -> list[Check]:
    """Hold one trial against every limit.

    Args:
        requests: the rows of all phases (columns of ``REQUEST_COLUMNS``).
        window_s: start and end of the window, in the rows' seconds.
        asked: the load that was asked for.
        observed: what was seen beside the requests.
    """
    window = requests.filter(pc.equal(requests["phase"], "window"))
    completed = window.filter(pc.is_null(window["error"]))
    checks = [
        _sample_size(completed),
        _errors(window),
        _dispatch_lag(window),
        _loop_lag(observed),
        _client_cpu(observed),
    ]
    if asked.rate is not None:
        checks += [
            _achieved_rate(requests, window_s, asked.rate, asked.arrivals),
            _arrival_cv(window, asked.arrivals),
            _backlog(requests, window_s),
        ]
    if asked.concurrency is not None:
        checks.append(_achieved_concurrency(requests, window_s, asked.concurrency))
    return [
        *checks,
        _output_tokens(completed),
        _prompt_tokens(completed, asked.api),
        _steady_state(window),
        *_reuse(window, observed),
        _cache(observed),
        _restarts(observed),
    ]


def chance(samples: int, hits: int, share: float) -> float:
    """Give the probability of ``hits`` or more among ``samples`` if each hits with ``share``."""
    if hits <= 0:
        return 1.0
    log_p, log_q = math.log(share), math.log1p(-share)
    whole = math.lgamma(samples + 1)
    below = sum(
        math.exp(
            whole
            - math.lgamma(k + 1)
            - math.lgamma(samples - k + 1)
            + k * log_p
            + (samples - k) * log_q
        )
        for k in range(hits)
    )
    return max(0.0, 1.0 - below)


def _share_verdict(samples: int, hits: int, share: float) -> Verdict:
    """Judge a share that must not exceed ``share``."""
    if hits <= share * samples:
        return Verdict.PASS
    return Verdict.FAIL if chance(samples, hits, share) < _CHANCE else Verdict.WARN


def _unknown(name: str, limit: str, why: str) -> Check:
    return Check(name, None, limit, Verdict.UNKNOWN, why)


def _sample_size(completed: pa.Table) -> Check:
    count = completed.num_rows
    needed = {f"p{q:.0%}".rstrip("%"): samples_needed(q) for q in (0.5, 0.9, 0.99)}
    missing = [name for name, least in needed.items() if count < least]
    limit = f">= {needed['p99']} completed requests for p99"
    if not count:
        advice = "no request of the window completed: look at the errors"
        return Check("sample_size", 0.0, limit, Verdict.FAIL, advice)
    if missing:
        advice = f"{', '.join(missing)} withheld: lengthen workload.duration or raise the load"
        return Check("sample_size", float(count), limit, Verdict.WARN, advice)
    return Check("sample_size", float(count), limit, Verdict.PASS)


def _errors(window: pa.Table) -> Check:
    name, limit = "error_share", f"<= {ERROR_SHARE:g} of requests"
    if not window.num_rows:
        return _unknown(name, limit, "no request was scheduled in the window")
    failed = window.filter(pc.is_valid(window["error"]))
    count = failed.num_rows
    if not count:
        return Check(name, 0.0, limit, Verdict.PASS)
    verdict = _share_verdict(window.num_rows, count, ERROR_SHARE)
    verdict = Verdict.WARN if verdict is Verdict.PASS else verdict
    pairs = zip(failed["error"].to_pylist(), failed["error_detail"].to_pylist(), strict=True)
    (kind, detail), times = Counter(pairs).most_common(1)[0]
    advice = f"{count} of {window.num_rows} failed; most often ({times}) {kind}: {detail}"
    return Check(name, count / window.num_rows, limit, verdict, advice)


def _dispatch_lag(window: pa.Table) -> Check:
    """Lag counts as server time in ``ttft_ms``: 5 ms, or 5% of the median where that is more."""
    name = "dispatch_lag_ms_p99"
    lag = (floats(window["sent_s"]) - floats(window["scheduled_s"])) * 1e3
    lag = lag[~np.isnan(lag)]
    ttft = floats(window["ttft_ms"])
    ttft = ttft[~np.isnan(ttft)]
    most = max(DISPATCH_LAG_MS, DISPATCH_LAG_SHARE * float(np.median(ttft)) if ttft.size else 0.0)
    limit = f"<= {most:.3g} ms"
    if not lag.size:
        return _unknown(name, limit, "no request of the window was sent")
    figure = float(np.quantile(lag, 0.99))
    verdict = _share_verdict(lag.size, int(np.count_nonzero(lag > most)), 0.01)
    if figure <= most or verdict is Verdict.PASS:
        return Check(name, figure, limit, Verdict.PASS)
    advice = (
        "requests left late: give the load generator a core of its own, lower the load, or check "
        "that the server accepts connections as fast as they are needed"
    )
    return Check(name, figure, limit, verdict, advice)


def _loop_lag(observed: Observed) -> Check:
    """Any stamp may be late by as much as the loop's lag."""
    name, limit, figure = "loop_lag_ms_p99", f"<= {LOOP_LAG_MS:g} ms", observed.loop_lag_ms_p99
    if figure is None:
        return _unknown(name, limit, "the harness does not tell its loop lag")
    if figure <= LOOP_LAG_MS:
        return Check(name, figure, limit, Verdict.PASS)
    advice = "arrivals were stamped late: give the load generator a core, or lower the load"
    return Check(name, figure, limit, Verdict.FAIL, advice)


def _client_cpu(observed: Observed) -> Check:
    """Work waits in a single-threaded sender like in any queue: at 0.8, four services on average."""
    name, limit, figure = "client_cpu", f"<= {CLIENT_CPU:g} of its limit", observed.client_cpu
    if figure is None:
        return _unknown(name, limit, "the harness does not tell its CPU time")
    if figure <= CLIENT_CPU:
        return Check(name, figure, limit, Verdict.PASS)
    advice = "the load generator is saturated: lower the load, or stream fewer tokens at a time"
    return Check(name, figure, limit, Verdict.FAIL, advice)


def _achieved_rate(
    requests: pa.Table,
    window_s: tuple[float, float],
    rate: float,
    arrivals: Literal["poisson", "constant"],
) -> Check:
    """Requests sent in the window against those expected, within 2% and the process's own chance.

    A Poisson count of mean m strays from m by 3.29 sqrt(m) once in a thousand windows; a constant
    one by 1.
    """
    start, end = window_s
    expected = rate * (end - start)
    chance_of = _Z * math.sqrt(expected) if arrivals == "poisson" else 0.0
    tolerance = max(RATE_TOLERANCE, (chance_of + 1.0) / expected)
    sent = floats(requests["sent_s"])
    figure = float(np.count_nonzero((sent >= start) & (sent < end))) / expected
    limit = f"1 ± {tolerance:.2g} of the asked rate"
    if abs(figure - 1.0) <= tolerance:
        return Check("achieved_rate", figure, limit, Verdict.PASS)
    advice = "the asked rate was not sent: lower workload.load.rate, or give the sender a core"
    return Check("achieved_rate", figure, limit, Verdict.FAIL, advice)


def _achieved_concurrency(
    requests: pa.Table, window_s: tuple[float, float], concurrency: int
) -> Check:
    figure = concurrency_mean(requests, window_s) / concurrency
    limit = f">= {CONCURRENCY_SHARE:g} of the asked concurrency"
    if figure >= CONCURRENCY_SHARE:
        return Check("achieved_concurrency", figure, limit, Verdict.PASS)
    advice = (
        "slots stood idle: answers are so short, or fail so often, that the pauses between them "
        "count; look at the errors, or ask for longer answers"
    )
    return Check("achieved_concurrency", figure, limit, Verdict.FAIL, advice)


def _arrival_cv(window: pa.Table, arrivals: Literal["poisson", "constant"]) -> Check:
    """Coefficient of variation of the gaps between sends: 1 for Poisson arrivals, 0 for constant.

    For n exponential gaps its standard deviation is 1/sqrt(n) (delta method). For constant arrivals
    the 1% most extreme gaps are set aside: a hiccup is for the dispatch lag to judge.
    """
    sent = floats(window["sent_s"])
    gaps = np.diff(np.sort(sent[~np.isnan(sent)]))
    wanted = 1.0 if arrivals == "poisson" else 0.0
    tolerance = CONSTANT_CV
    if arrivals == "poisson":
        tolerance = JITTER_CV + _Z / math.sqrt(max(1, gaps.size))
    limit = f"{wanted:g} ± {tolerance:.2g}" if wanted else f"<= {tolerance:g}"
    if gaps.size < _FEWEST_GAPS or gaps.mean() <= 0.0:
        return _unknown("arrival_cv", limit, f"needs {_FEWEST_GAPS} gaps; there are {gaps.size}")
    if arrivals == "constant":
        strange = np.abs(gaps - np.median(gaps))
        gaps = gaps[np.argsort(strange)[: gaps.size - math.ceil(gaps.size / 100)]]
    figure = float(gaps.std() / gaps.mean())
    if abs(figure - wanted) <= tolerance:
        return Check("arrival_cv", figure, limit, Verdict.PASS)
    advice = f"the sends were not {arrivals}: give the load generator a core, or lower the rate"
    return Check("arrival_cv", figure, limit, Verdict.FAIL, advice)


def _output_tokens(completed: pa.Table) -> Check:
    name, limit = "output_tokens_exact", f">= {EXACT_SHARE:g} of requests"
    if not completed.num_rows:
        return _unknown(name, limit, "no request of the window completed")
    wrong = _differences(completed, "output_tokens")
    count = int(np.count_nonzero(wrong))
    figure = 1.0 - count / completed.num_rows
    if not count:
        return Check(name, figure, limit, Verdict.PASS)
    if completed["prompt_tokens"].null_count == completed.num_rows:
        why = "the server reports no usage, and events may carry any number of tokens"
        return Check(name, figure, limit, Verdict.UNKNOWN, why)
    advice = (
        f"{count} answers have not the asked length (median difference "
        f"{np.median(wrong[wrong != 0]):+g} tokens): the server must honour max_tokens and "
        "ignore_eos, and its context must hold prompt and answer"
    )
    return Check(
        name, figure, limit, _share_verdict(completed.num_rows, count, 1 - EXACT_SHARE), advice
    )


def _prompt_tokens(completed: pa.Table, api: Literal["completions", "chat"]) -> Check:
    name, limit = "prompt_tokens_exact", f">= {EXACT_SHARE:g} of requests"
    known = completed.filter(pc.is_valid(completed["prompt_tokens"]))
    if not known.num_rows:
        return _unknown(name, limit, "the server does not count prompt tokens")
    wrong = _differences(known, "prompt_tokens")
    count = int(np.count_nonzero(wrong))
    figure = 1.0 - count / known.num_rows
    if not count:
        return Check(name, figure, limit, Verdict.PASS)
    added = float(wrong.min())
    if added == wrong.max() and added > 0 and (api == "chat" or added <= TEMPLATE_TOKENS):
        advice = f"the server adds {added:g} tokens to every prompt (template, begin of text)"
        return Check(name, figure, limit, Verdict.WARN, advice)
    advice = (
        f"{count} prompts have not the asked length (median difference "
        f"{np.median(wrong[wrong != 0]):+g} tokens): set model.tokenizer and model.vocab_size to "
        "the served model's, or send token ids"
    )
    return Check(
        name, figure, limit, _share_verdict(known.num_rows, count, 1 - EXACT_SHARE), advice
    )


def _differences(rows: pa.Table, column: str) -> Floats:
    """Give counted minus asked tokens, by request."""
    return floats(rows[column]) - floats(rows[f"{column}_asked"])


def _steady_state(window: pa.Table) -> Check:
    """Latency must not drift; a request given up on counts with the time that it had by then."""
    name, limit = "steady_state", f"|change| <= {TREND_FAIL:g} of the mean latency"
    served = window.filter(
        pc.or_(pc.is_null(window["error"]), pc.equal(window["error"], "timeout").fill_null(False))
    )
    scheduled = floats(served["scheduled_s"])
    ended = floats(pc.coalesce(served["last_token_s"], served["end_s"]))
    timeout = pc.is_valid(served["error"]).to_numpy(zero_copy_only=False)
    ended = np.where(timeout, floats(served["end_s"]), ended)
    trend = latency_trend(scheduled, ended - scheduled)
    if trend is None:
        return _unknown(name, limit, "too few requests to tell a trend from chance")
    grows = trend.change > 0
    advice = (
        "latency grew over the window: the load is above what the server can serve; lower it"
        if grows
        else "latency fell over the window: lengthen workload.warmup"
    )
    return _trend_check(name, limit, trend, abs(trend.change), advice)


def _trend_check(name: str, limit: str, trend: Trend, size: float, advice: str) -> Check:
    if not trend.significant or size <= TREND_WARN:
        return Check(name, trend.change, limit, Verdict.PASS)
    verdict = Verdict.FAIL if size > TREND_FAIL else Verdict.WARN
    return Check(name, trend.change, limit, verdict, advice)


def _backlog(requests: pa.Table, window_s: tuple[float, float]) -> Check:
    name, limit = "backlog_growth", f"<= {BACKLOG_SHARE:g} of arrivals"
    trend = backlog_growth(floats(requests["scheduled_s"]), floats(requests["end_s"]), window_s)
    if trend is None:
        return _unknown(name, limit, "too few requests to tell growth from chance")
    if not trend.significant or trend.change <= BACKLOG_SHARE:
        return Check(name, trend.change, limit, Verdict.PASS)
    advice = (
        "requests piled up: the asked rate is above what the server can serve, so latencies "
        "depend on how long the window was; lower workload.load.rate, or use concurrency"
    )
    return Check(name, trend.change, limit, Verdict.FAIL, advice)


def _reuse(window: pa.Table, observed: Observed) -> list[Check]:
    opened = observed.connections_opened
    if opened is None or not window.num_rows:
        return []
    figure = opened / window.num_rows
    limit = f"<= {REOPENED_SHARE:g} connections opened for each request"
    if figure <= REOPENED_SHARE or opened <= 1:
        return [Check("connections_opened", figure, limit, Verdict.PASS)]
    advice = "the server closes connections: their set-up is part of the latencies"
    return [Check("connections_opened", figure, limit, Verdict.WARN, advice)]


def _cache(observed: Observed) -> Check:
    name, limit = "cache_clean", "verified to be empty at the start"
    if observed.cache_clean is None:
        return _unknown(name, limit, observed.cache_detail or "nobody can tell")
    if observed.cache_clean:
        return Check(name, 1.0, limit, Verdict.PASS, observed.cache_detail)
    advice = f"caches held an earlier trial's prompts: {observed.cache_detail}"
    return Check(name, 0.0, limit, Verdict.FAIL, advice)


def _restarts(observed: Observed) -> Check:
    name, limit = "server_restarts", "0"
    if not observed.restarts:
        return Check(name, 0.0, limit, Verdict.PASS)
    advice = "a server ended during the trial: look at its log"
    return Check(name, float(observed.restarts), limit, Verdict.FAIL, advice)
