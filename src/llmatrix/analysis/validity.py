"""Can this trial's figures be trusted? Every named check, of the sender and of what was served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from llmatrix.analysis import sender, served
from llmatrix.analysis.checks import Check, Verdict, unknown
from llmatrix.pace import Piece, Process, gap_cv, ramped


@dataclass(frozen=True, slots=True)
class Asked:
    """The load that the trial asked for; exactly one of ``rate`` and ``concurrency`` is set.

    ``cv`` is that of the gaps of gamma arrivals; the rate follows ``ramp`` from the window's
    start, before it stays at ``rate``.
    """

    rate: float | None = None
    arrivals: Process = "poisson"
    concurrency: int | None = None
    api: Literal["completions", "chat"] = "completions"
    cv: float | None = None
    ramp: tuple[Piece, ...] = ()


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
        served.sample_size(completed),
        served.errors(window),
        sender.dispatch_lag(window),
        sender.loop_lag(observed.loop_lag_ms_p99),
        sender.client_cpu(observed.client_cpu),
    ]
    if asked.rate is not None:
        pace = ramped(asked.rate, asked.ramp, window_s[0])
        cv = gap_cv(asked.arrivals, asked.cv)
        checks += [
            sender.achieved_rate(requests, window_s, pace, cv),
            sender.arrival_cv(window, pace, cv),
        ]
        if not asked.ramp:
            checks.append(served.backlog(requests, window_s))
    if asked.concurrency is not None:
        checks.append(sender.achieved_concurrency(requests, window_s, asked.concurrency))
    return [
        *checks,
        served.output_tokens(completed),
        served.prompt_tokens(completed, asked.api),
        _changing() if asked.ramp else served.steady_state(window),
        *sender.reuse(window, observed.connections_opened),
        _cache(observed),
        _restarts(observed),
    ]


def _changing() -> Check:
    """Under a ramp the server is in no steady state, nor meant to be."""
    return unknown("steady_state", "a steady load", "the asked rate changes over the window")


def _cache(observed: Observed) -> Check:
    name, limit = "cache_clean", "verified to be empty at the start"
    if observed.cache_clean is None:
        return unknown(name, limit, observed.cache_detail or "nobody can tell")
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
