"""Can this trial's figures be trusted? Every named check, of the sender and of what was served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from llmatrix.analysis import scraped, sender, served
from llmatrix.analysis.checks import Check, Verdict, unknown
from llmatrix.analysis.strain import Strain, client_cpu, cpu_wait
from llmatrix.pace import Piece, Process, gap_cv, ramped

__all__ = ["Asked", "Check", "Observed", "Strain", "Verdict", "judge"]

_CALM: Final = Strain()


@dataclass(frozen=True, slots=True)
class Asked:
    """The load that the trial asked for: one of ``rate``, ``concurrency`` and ``replayed``.

    ``cv`` is that of the gaps of gamma arrivals; the rate follows ``ramp`` from the window's
    start, before it stays at ``rate``. ``replayed`` counts the requests that a trace has in the
    window. Where a session has several ``turns``, rate and concurrency are those of sessions.
    ``exact`` is whether the prompts' lengths were asked for exactly, and not taken as they came.
    """

    rate: float | None = None
    arrivals: Process = "poisson"
    concurrency: int | None = None
    api: Literal["completions", "chat"] = "completions"
    cv: float | None = None
    ramp: tuple[Piece, ...] = ()
    replayed: int | None = None
    turns: int = 1
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen beside the requests; None where nobody can tell.

    Attributes:
        loop_lag_ms_p99, connections_opened: as in the harness's ``Measurement``.
        strain: of the senders.
        cache_clean, cache_detail: as in the stack's ``Hygiene``.
        restarts: servers that ended while the workload ran.
        endings: how they ended, in words.
        simulated: whether what answers is a simulator.
        scraped: what servers said of themselves (rows of ``SERVER_COLUMNS``).
    """

    loop_lag_ms_p99: float | None = None
    strain: Strain = _CALM
    connections_opened: int | None = None
    cache_clean: bool | None = None
    cache_detail: str = ""
    restarts: int = 0
    endings: tuple[str, ...] = ()
    simulated: bool = False
    scraped: pa.Table | None = None


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
    strain = observed.strain
    return [
        served.sample_size(completed),
        served.errors(window),
        sender.dispatch_lag(window, strain),
        sender.loop_lag(observed.loop_lag_ms_p99, strain),
        client_cpu(strain),
        *cpu_wait(strain),
        *_load(requests, window, window_s, asked, strain),
        served.output_tokens(completed),
        served.prompt_tokens(completed, asked.api, exact=asked.exact),
        _changing(asked) or served.steady_state(window),
        *sender.reuse(window, observed.connections_opened),
        _cache(observed),
        _restarts(observed),
        *scraped.simulator_late(observed.scraped, window_s, simulated=observed.simulated),
    ]


def _load(
    requests: pa.Table,
    window: pa.Table,
    window_s: tuple[float, float],
    asked: Asked,
    strain: Strain,
) -> list[Check]:
    """Was the asked load sent, and could the server keep up with it?"""
    if asked.replayed is not None:
        return sender.replayed(requests, window_s, asked.replayed, strain)
    if asked.concurrency is not None:
        slots, turns = asked.concurrency, asked.turns
        return [sender.achieved_concurrency(requests, window_s, slots, turns, strain)]
    if asked.rate is None:
        return []
    pace = ramped(asked.rate, asked.ramp, window_s[0])
    cv = gap_cv(asked.arrivals, asked.cv)
    backlog = [] if asked.ramp else [served.backlog(requests, window_s)]
    if asked.turns > 1:
        # Later turns come when answers let them: only the first of a session has a schedule.
        requests, window = (rows.filter(pc.equal(rows["turn"], 0)) for rows in (requests, window))
    return [
        sender.achieved_rate(requests, window_s, pace, cv, strain),
        sender.arrival_cv(window, pace, cv, strain),
        *backlog,
    ]


def _changing(asked: Asked) -> Check | None:
    """Under a ramp or a trace the server is in no steady state, nor meant to be."""
    if asked.replayed is not None:
        why = "a trace's load changes over the window"
    elif asked.ramp:
        why = "the asked rate changes over the window"
    else:
        return None
    return unknown("steady_state", "a steady load", why)


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
    told = "; ".join(observed.endings) or "a server ended"
    advice = f"while the workload ran: {told}; its log is beside the record"
    return Check(name, float(observed.restarts), limit, Verdict.FAIL, advice)
