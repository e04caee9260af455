"""Checks of what was served: enough answers, whole ones, of the asked length, in a steady state."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmatrix.analysis.checks import Check, Verdict, share_verdict, unknown
from llmatrix.analysis.metrics import Floats, floats
from llmatrix.analysis.percentiles import samples_needed
from llmatrix.analysis.steady import Trend, backlog_growth, latency_trend

ERROR_SHARE: Final = 0.01
EXACT_SHARE: Final = 0.99
TREND_FAIL: Final = 0.3
TREND_WARN: Final = 0.1
BACKLOG_SHARE: Final = 0.05
TEMPLATE_TOKENS: Final = 2


def sample_size(completed: pa.Table) -> Check:
    """Completed requests of the window; none at all is a failure, few only withhold percentiles."""
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


def errors(window: pa.Table) -> Check:
    """Share of the window's requests that failed, whatever the class."""
    name, limit = "error_share", f"<= {ERROR_SHARE:g} of requests"
    if not window.num_rows:
        return unknown(name, limit, "no request was scheduled in the window")
    failed = window.filter(pc.is_valid(window["error"]))
    count = failed.num_rows
    if not count:
        return Check(name, 0.0, limit, Verdict.PASS)
    verdict = share_verdict(window.num_rows, count, ERROR_SHARE)
    verdict = Verdict.WARN if verdict is Verdict.PASS else verdict
    pairs = zip(failed["error"].to_pylist(), failed["error_detail"].to_pylist(), strict=True)
    (kind, detail), times = Counter(pairs).most_common(1)[0]
    advice = f"{count} of {window.num_rows} failed; most often ({times}) {kind}: {detail}"
    return Check(name, count / window.num_rows, limit, verdict, advice)


def output_tokens(completed: pa.Table) -> Check:
    """Share of the completed requests with exactly the asked output tokens."""
    name, limit = "output_tokens_exact", f">= {EXACT_SHARE:g} of requests"
    if not completed.num_rows:
        return unknown(name, limit, "no request of the window completed")
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
        name, figure, limit, share_verdict(completed.num_rows, count, 1 - EXACT_SHARE), advice
    )


def prompt_tokens(
    completed: pa.Table, api: Literal["completions", "chat"], *, exact: bool = True
) -> Check:
    """Share of the completed requests whose prompt counted exactly as asked.

    Prompts that repeat what the server answered, or were recorded, have no asked length: what was
    counted beforehand is an estimate.
    """
    name, limit = "prompt_tokens_exact", f">= {EXACT_SHARE:g} of requests"
    if not exact:
        return unknown(name, limit, "the prompts were taken as they came, of no asked length")
    known = completed.filter(pc.is_valid(completed["prompt_tokens"]))
    if not known.num_rows:
        return unknown(name, limit, "the server does not count prompt tokens")
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
    return Check(name, figure, limit, share_verdict(known.num_rows, count, 1 - EXACT_SHARE), advice)


def _differences(rows: pa.Table, column: str) -> Floats:
    """Give counted minus asked tokens, by request."""
    return floats(rows[column]) - floats(rows[f"{column}_asked"])


def steady_state(window: pa.Table) -> Check:
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
        return unknown(name, limit, "too few requests to tell a trend from chance")
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


def backlog(requests: pa.Table, window_s: tuple[float, float]) -> Check:
    """Requests must not pile up over the window; see ``steady.backlog_growth``."""
    name, limit = "backlog_growth", f"<= {BACKLOG_SHARE:g} of arrivals"
    trend = backlog_growth(floats(requests["scheduled_s"]), floats(requests["end_s"]), window_s)
    if trend is None:
        return unknown(name, limit, "too few requests to tell growth from chance")
    if not trend.significant or trend.change <= BACKLOG_SHARE:
        return Check(name, trend.change, limit, Verdict.PASS)
    advice = (
        "requests piled up: the asked rate is above what the server can serve, so latencies "
        "depend on how long the window was; lower workload.load.rate, or use concurrency"
    )
    return Check(name, trend.change, limit, Verdict.FAIL, advice)
