"""Checks of the sender: did it send what was asked, when it was asked, and tell the time well?"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmatrix.analysis.checks import Check, Verdict, share_verdict, unknown
from llmatrix.analysis.metrics import Floats, concurrency_mean, floats
from llmatrix.analysis.steady import in_flight_mean
from llmatrix.analysis.strain import Strain
from llmatrix.pace import Pace

DISPATCH_LAG_MS: Final = 5.0
DISPATCH_LAG_SHARE: Final = 0.05
LOOP_LAG_MS: Final = 10.0
RATE_TOLERANCE: Final = 0.02
CONCURRENCY_SHARE: Final = 0.95
CONSTANT_CV: Final = 0.15
JITTER_CV: Final = 0.05
JITTER_S: Final = 0.001
REOPENED_SHARE: Final = 0.5
_Z: Final = 3.29
_FEWEST_GAPS: Final = 30


def dispatch_lag(window: pa.Table, strain: Strain) -> Check:
    """Lag counts as server time in ``ttft_ms``: 5 ms, or 5% of the median where that is more."""
    name = "dispatch_lag_ms_p99"
    lag = (floats(window["sent_s"]) - floats(window["scheduled_s"])) * 1e3
    lag = lag[~np.isnan(lag)]
    ttft = floats(window["ttft_ms"])
    ttft = ttft[~np.isnan(ttft)]
    most = max(DISPATCH_LAG_MS, DISPATCH_LAG_SHARE * float(np.median(ttft)) if ttft.size else 0.0)
    limit = f"<= {most:.3g} ms"
    if not lag.size:
        return unknown(name, limit, "no request of the window was sent")
    figure = float(np.quantile(lag, 0.99))
    verdict = share_verdict(lag.size, int(np.count_nonzero(lag > most)), 0.01)
    if figure <= most or verdict is Verdict.PASS:
        return Check(name, figure, limit, Verdict.PASS)
    why = strain.advise(
        "give the load generator a core of its own, lower the load, or check that the server "
        "accepts connections as fast as they are needed"
    )
    return Check(name, figure, limit, verdict, f"requests left late: {why}")


def loop_lag(figure: float | None, strain: Strain) -> Check:
    """Any stamp may be late by as much as the loop's lag."""
    name, limit = "loop_lag_ms_p99", f"<= {LOOP_LAG_MS:g} ms"
    if figure is None:
        return unknown(name, limit, "the harness does not tell its loop lag")
    if figure <= LOOP_LAG_MS:
        return Check(name, figure, limit, Verdict.PASS)
    why = strain.advise("give the load generator a core of its own, or lower the load")
    return Check(name, figure, limit, Verdict.FAIL, f"arrivals were stamped late: {why}")


def achieved_rate(
    requests: pa.Table, window_s: tuple[float, float], pace: Pace, gap_cv: float, strain: Strain
) -> Check:
    """Requests sent in the window against those expected, within 2% and the process's own chance.

    A count of mean m of arrivals whose gaps have the coefficient of variation c strays from m by
    3.29 c sqrt(m) once in a thousand windows (Cox, "Renewal Theory", 1962, section 3.3; c is 1 for
    Poisson), a constant one by 1.
    """
    start, end = window_s
    expected = pace.expected(end) - pace.expected(start)
    tolerance = max(RATE_TOLERANCE, (_Z * gap_cv * math.sqrt(expected) + 1.0) / expected)
    sent = floats(requests["sent_s"])
    figure = float(np.count_nonzero((sent >= start) & (sent < end))) / expected
    limit = f"1 ± {tolerance:.2g} of the asked rate"
    if abs(figure - 1.0) <= tolerance:
        return Check("achieved_rate", figure, limit, Verdict.PASS)
    why = strain.advise("lower workload.load.rate, or give the sender a core")
    advice = f"the asked rate was not sent: {why}"
    return Check("achieved_rate", figure, limit, Verdict.FAIL, advice)


def replayed(
    requests: pa.Table, window_s: tuple[float, float], asked: int, strain: Strain
) -> list[Check]:
    """Hold what was sent of a trace against the trace: how many requests, how regularly.

    The coefficient of variation of the gaps may stray from the recorded one by what 1 ms of jitter
    makes of it; no chance is in either.
    """
    start, end = window_s
    sent, due = floats(requests["sent_s"]), floats(requests["scheduled_s"])
    inside = (due >= start) & (due < end)
    figure = float(np.count_nonzero((sent >= start) & (sent < end))) / max(1, asked)
    tolerance = max(RATE_TOLERANCE, 1.0 / max(1, asked))
    limit = f"1 ± {tolerance:.2g} of the trace's requests"
    good = abs(figure - 1.0) <= tolerance
    why = strain.advise("lower workload.speed, or give the sender a core")
    advice = "" if good else f"the trace's requests were not sent in time: {why}"
    rate = Check("achieved_rate", figure, limit, Verdict.PASS if good else Verdict.FAIL, advice)
    gaps = np.diff(np.sort(due[inside]))
    left = np.diff(np.sort(sent[inside & ~np.isnan(sent)]))
    if min(gaps.size, left.size) < _FEWEST_GAPS or gaps.mean() <= 0.0:
        why = f"needs {_FEWEST_GAPS} gaps; there are {left.size}"
        return [rate, unknown("arrival_cv", "that of the trace", why)]
    recorded, found = float(gaps.std() / gaps.mean()), float(left.std() / left.mean())
    jitter = math.sqrt(2) * JITTER_S / float(gaps.mean())
    tolerance = max(CONSTANT_CV, math.hypot(recorded, jitter) - recorded)
    limit = f"{recorded:.3g} ± {tolerance:.2g}, that of the trace"
    if abs(found - recorded) <= tolerance:
        return [rate, Check("arrival_cv", found, limit, Verdict.PASS)]
    why = strain.advise("give the load generator a core, or lower workload.speed")
    advice = f"the sends were not spaced as in the trace: {why}"
    return [rate, Check("arrival_cv", found, limit, Verdict.FAIL, advice)]


def achieved_concurrency(
    requests: pa.Table, window_s: tuple[float, float], concurrency: int, turns: int, strain: Strain
) -> Check:
    """Mean requests in flight, or sessions under way, against the slots of the closed loop."""
    if turns > 1:
        begins, ends = _sessions(requests, turns)
        figure = in_flight_mean(begins, ends, *window_s) / concurrency
    else:
        figure = concurrency_mean(requests, window_s) / concurrency
    limit = f">= {CONCURRENCY_SHARE:g} of the asked concurrency"
    if figure >= CONCURRENCY_SHARE:
        return Check("achieved_concurrency", figure, limit, Verdict.PASS)
    advice = (
        "slots stood idle: answers are so short, or fail so often, that the pauses between them "
        "count; look at the errors, or ask for longer answers"
    )
    if strain.cause:
        advice = f"slots stood idle: {strain.cause}"
    return Check("achieved_concurrency", figure, limit, Verdict.FAIL, advice)


def _sessions(requests: pa.Table, turns: int) -> tuple[Floats, Floats]:
    """Give begin and end of each session, in seconds; one that goes on has no end."""
    group, turn = floats(requests["group"]), floats(requests["turn"])
    begun, ended = floats(requests["scheduled_s"]), floats(requests["end_s"])
    failed = pc.is_valid(requests["error"]).to_numpy(zero_copy_only=False)
    ended = np.where(failed | (turn == turns - 1), ended, np.inf)
    _, place = np.unique(group, return_inverse=True)
    begins = np.full(place.max(initial=-1) + 1, np.inf)
    np.minimum.at(begins, place, begun)
    ends = np.full(begins.size, np.inf)
    np.minimum.at(ends, place, ended)
    return begins, ends


def arrival_cv(window: pa.Table, pace: Pace, gap_cv: float, strain: Strain) -> Check:
    """Coefficient of variation of the gaps between sends: 0 for constant, 1 for Poisson arrivals.

    Gaps count in arrivals expected, so that those of a ramp are alike. Sends that stray by 1 ms,
    less than a decoding step of any server, pass at any rate (the difference of two such sends
    strays by sqrt(2) ms). For constant arrivals the 1% most extreme gaps are set aside, for a
    hiccup is the dispatch lag's to judge.
    """
    sent = floats(window["sent_s"])
    sent = np.sort(sent[~np.isnan(sent)])
    gaps = np.diff(np.array([pace.expected(at) for at in sent.tolist()]))
    real = float(np.diff(sent).mean()) if gaps.size else 0.0
    tolerance = _cv_tolerance(gap_cv, gaps.size, real)
    limit = f"{gap_cv:g} ± {tolerance:.2g}" if gap_cv else f"<= {tolerance:.2g}"
    if gaps.size < _FEWEST_GAPS or real <= 0.0:
        return unknown("arrival_cv", limit, f"needs {_FEWEST_GAPS} gaps; there are {gaps.size}")
    if not gap_cv:
        strange = np.abs(gaps - np.median(gaps))
        gaps = gaps[np.argsort(strange)[: gaps.size - math.ceil(gaps.size / 100)]]
    figure = float(gaps.std() / gaps.mean())
    if abs(figure - gap_cv) <= tolerance:
        return Check("arrival_cv", figure, limit, Verdict.PASS)
    kind = {0.0: "constant", 1.0: "poisson"}.get(gap_cv, f"gamma with cv {gap_cv:g}")
    why = strain.advise("give the load generator a core, or lower the rate")
    advice = f"the sends were not {kind}: {why}"
    return Check("arrival_cv", figure, limit, Verdict.FAIL, advice)


def _cv_tolerance(gap_cv: float, gaps: int, mean_s: float) -> float:
    """Allow for jitter and, where gaps are random, for chance.

    The coefficient of variation of n gamma gaps has the standard deviation
    c sqrt((1 + c**2) / (2 n)) around c (delta method; 1/sqrt(n) for exponential ones).
    """
    jitter = math.sqrt(2) * JITTER_S / mean_s if mean_s > 0.0 else 0.0
    if not gap_cv:
        return max(CONSTANT_CV, jitter)
    chance = gap_cv * math.sqrt((1.0 + gap_cv**2) / 2 / max(1, gaps))
    return max(JITTER_CV, math.hypot(gap_cv, jitter) - gap_cv) + _Z * chance


def reuse(window: pa.Table, opened: int | None) -> list[Check]:
    """Connections opened in the window, for each of its requests; none where nobody counts.

    A growing load opens some; one for every second request means that they are not kept.
    """
    if opened is None or not window.num_rows:
        return []
    figure = opened / window.num_rows
    limit = f"<= {REOPENED_SHARE:g} connections opened for each request"
    if figure <= REOPENED_SHARE or opened <= 1:
        return [Check("connections_opened", figure, limit, Verdict.PASS)]
    advice = "the server closes connections: their set-up is part of the latencies"
    return [Check("connections_opened", figure, limit, Verdict.WARN, advice)]
