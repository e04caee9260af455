from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from llmatrix.analysis.checks import Check, Verdict, chance
from llmatrix.analysis.steady import STUDENT_T_99, latency_trend
from llmatrix.analysis.strain import Strain
from llmatrix.analysis.validity import Asked, Observed, judge
from llmatrix.pace import Pace, Piece

Rows = Callable[..., pa.Table]
WINDOW = (0.0, 30.0)
CONSTANT = Asked(rate=20.0, arrivals="constant")
POISSON = Asked(rate=20.0, arrivals="poisson")
WELL = Observed(
    loop_lag_ms_p99=0.5,
    strain=Strain(cpu=0.1, cpu_wait=0.03),
    cache_clean=True,
    cache_detail="reset",
)
STEADY = [n / 20 for n in range(600)]


def verdicts(
    table: pa.Table, asked: Asked = CONSTANT, observed: Observed = WELL
) -> dict[str, Check]:
    checks = judge(table, window_s=WINDOW, asked=asked, observed=observed)
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert all(check.advice for check in checks if check.verdict is not Verdict.PASS)
    return {check.name: check for check in checks}


def failed(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.verdict is Verdict.FAIL}


def poisson(seed: int, rate: float = 20.0) -> list[float]:
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=round(rate * 60))
    return [float(at) for at in np.cumsum(gaps) if at < WINDOW[1]]


def moved(
    latency: Callable[[float], float], at: Sequence[float]
) -> Callable[[int], dict[str, Any]]:
    """Requests whose answers take ``latency(scheduled)`` seconds."""

    def change(n: int) -> dict[str, Any]:
        end = at[n] + latency(at[n])
        return {"last_token_s": end, "end_s": end, "e2e_ms": 1e3 * latency(at[n])}

    return change


def test_a_sound_trial_passes_everything_but_its_size(rows: Rows) -> None:
    checks = verdicts(rows(STEADY))
    assert {n for n, c in checks.items() if c.verdict is not Verdict.PASS} == {"sample_size"}
    assert checks["sample_size"].verdict is Verdict.WARN
    assert "p99 withheld" in checks["sample_size"].advice


def test_sound_poisson_trials_do_not_fail(rows: Rows) -> None:
    fails = [failed(verdicts(rows(poisson(seed)), POISSON)) for seed in range(60)]
    assert sum(bool(names) for names in fails) <= 1


@pytest.mark.parametrize("count", [1, 3, 10, 24])
def test_small_sound_trials_do_not_cry_wolf(rows: Rows, count: int) -> None:
    at = [30 * n / count for n in range(count)]
    asked = Asked(rate=count / 30, arrivals="constant")
    assert failed(verdicts(rows(at), asked)) == set()
    hiccup = rows(at, lambda n: {"sent_s": at[n] + 0.2 * (n == 0)})
    assert failed(verdicts(hiccup, asked)) <= ({"dispatch_lag_ms_p99"} if count == 1 else set())


def test_nothing_scheduled_is_a_failure_of_size_alone(rows: Rows) -> None:
    checks = verdicts(rows([]))
    assert "sample_size" in failed(checks)
    assert "achieved_rate" in failed(checks)
    assert checks["error_share"].verdict is Verdict.UNKNOWN


def test_late_dispatch_fails(rows: Rows) -> None:
    late = rows(STEADY, lambda n: {"sent_s": STEADY[n] + (0.02 if n % 20 == 0 else 0.0)})
    check = verdicts(late)["dispatch_lag_ms_p99"]
    assert check.verdict is Verdict.FAIL
    assert check.figure == pytest.approx(20)


def test_one_hiccup_does_not_fail(rows: Rows) -> None:
    one = rows(STEADY, lambda n: {"sent_s": STEADY[n] + (0.1 if n == 300 else 0.0)})
    assert failed(verdicts(one)) == set()


def test_lag_is_held_against_what_is_measured(rows: Rows) -> None:
    slow = rows(STEADY, lambda n: {"sent_s": STEADY[n] + 0.02, "ttft_ms": 1000.0})
    assert verdicts(slow)["dispatch_lag_ms_p99"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("observed", "name"),
    [
        (Observed(loop_lag_ms_p99=11.0), "loop_lag_ms_p99"),
        (Observed(strain=Strain(cpu=0.9)), "client_cpu"),
        (Observed(strain=Strain(cpu_wait=0.3, cores=1)), "client_cpu_wait"),
        (Observed(cache_clean=False, cache_detail="reset failed"), "cache_clean"),
        (Observed(restarts=1), "server_restarts"),
    ],
)
def test_what_was_seen_beside_the_requests(rows: Rows, observed: Observed, name: str) -> None:
    assert failed(verdicts(rows(STEADY), observed=observed)) == {name}


def test_what_nobody_can_tell_is_unknown(rows: Rows) -> None:
    checks = verdicts(rows(STEADY), observed=Observed())
    for name in ("loop_lag_ms_p99", "client_cpu", "cache_clean"):
        assert checks[name].verdict is Verdict.UNKNOWN
        assert checks[name].figure is None
    assert failed(checks) == set()


@pytest.mark.parametrize(
    ("strain", "cause"),
    [
        (Strain(cpu_wait=0.4, cores=1), "no core in 40% of the window, with one core to run on"),
        (Strain(cpu_wait=0.4, cores=4), "with 4 cores to run on: give it a core of its own"),
        (Strain(throttled=0.2, cpu_wait=0.4), "its CPU quota in 20% of the window: raise its"),
        (Strain(steal=0.5, cpu_wait=0.4), "took 0.5 of this machine's cores for others (steal)"),
        (Strain(cpu=0.95, cores=4, shards=1), "95% of a core: set workload.shards: 2, or lower"),
        (Strain(cpu=0.95, cores=2, shards=2), "stream fewer tokens, or send from a machine of mo"),
        (Strain(cpu_wait=0.1, cores=2), "no core in 10% of the window, with 2 cores to run on"),
        (Strain(cpu=0.3, cpu_wait=0.04), "give the load generator a core of its own"),
    ],
)
def test_a_sender_held_up_names_its_cause_wherever_it_shows(
    rows: Rows, strain: Strain, cause: str
) -> None:
    late = rows(STEADY, lambda n: {"sent_s": STEADY[n] + 0.02})
    checks = verdicts(late, observed=Observed(loop_lag_ms_p99=30.0, strain=strain))
    assert {"dispatch_lag_ms_p99", "loop_lag_ms_p99"} <= failed(checks)
    for name in ("dispatch_lag_ms_p99", "loop_lag_ms_p99"):
        assert cause in checks[name].advice


def test_a_trace_is_held_against_itself(rows: Rows) -> None:
    due = poisson(3)
    asked = Asked(replayed=len(due))
    checks = verdicts(rows(due), asked)
    assert failed(checks) == set()
    assert checks["achieved_rate"].figure == 1.0
    assert checks["steady_state"].verdict is Verdict.UNKNOWN
    assert "backlog_growth" not in checks
    lost = verdicts(rows(due[::2]), asked)
    assert failed(lost) == {"achieved_rate"}
    bunched = rows(
        due, lambda n: {"sent_s": due[n // 8 * 8 + 7] if n // 8 * 8 + 7 < len(due) else None}
    )
    assert "arrival_cv" in failed(verdicts(bunched, asked))
    assert verdicts(rows(due[:9]), Asked(replayed=9))["arrival_cv"].verdict is Verdict.UNKNOWN


def sessions(rows: Rows, begins: Sequence[float], turns: int, think: float) -> pa.Table:
    """Each session has ``turns`` answers of 140 ms, ``think`` seconds apart."""
    due = [begin + turn * (0.14 + think) for begin in begins for turn in range(turns)]
    return rows(due, lambda n: {"group": n // turns, "turn": n % turns})


def test_sessions_that_think_are_not_idle(rows: Rows) -> None:
    # 4 slots, each with one session of 3 turns after another, from 2 s before the window
    begins = [at for at in np.arange(-2.0, 30.0, 3.42) for _ in range(4)]
    table = sessions(rows, begins, 3, 1.5)
    checks = verdicts(table, Asked(concurrency=4, turns=3))
    assert checks["achieved_concurrency"].figure == pytest.approx(1.0, abs=0.02)
    assert checks["achieved_concurrency"].verdict is Verdict.PASS
    idle = verdicts(sessions(rows, begins[::2], 3, 1.5), Asked(concurrency=4, turns=3))
    assert "achieved_concurrency" in failed(idle)


def test_the_rate_of_sessions_is_that_of_their_first_turns(rows: Rows) -> None:
    table = sessions(rows, [n / 4 for n in range(120)], 3, 0.5)
    checks = verdicts(table, Asked(rate=4.0, arrivals="constant", turns=3))
    assert checks["achieved_rate"].figure == pytest.approx(1.0)
    assert checks["arrival_cv"].figure == pytest.approx(0.0, abs=1e-6)


def test_prompts_taken_as_they_came_have_no_asked_length(rows: Rows) -> None:
    table = rows(STEADY, lambda n: {"prompt_tokens": 100 + n % 7})
    assert verdicts(table)["prompt_tokens_exact"].verdict is Verdict.FAIL
    asked = Asked(rate=20.0, arrivals="constant", exact=False)
    assert verdicts(table, asked)["prompt_tokens_exact"].verdict is Verdict.UNKNOWN


def test_a_rate_that_was_not_sent_fails(rows: Rows) -> None:
    checks = verdicts(rows(STEADY[::2]))
    assert "achieved_rate" in failed(checks)
    assert checks["achieved_rate"].figure == pytest.approx(0.5)


def test_idle_slots_fail(rows: Rows) -> None:
    # 600 requests of 0.14 s in 30 s are 2.8 in flight
    assert failed(verdicts(rows(STEADY), Asked(concurrency=3))) == {"achieved_concurrency"}
    assert failed(verdicts(rows(STEADY), Asked(concurrency=2))) == set()


def test_bursts_are_not_constant_and_constant_is_not_poisson(rows: Rows) -> None:
    bursts = [n // 5 / 4 for n in range(600)]
    assert "arrival_cv" in failed(verdicts(rows(bursts)))
    assert "arrival_cv" in failed(verdicts(rows(STEADY), POISSON))
    assert "arrival_cv" in failed(verdicts(rows(poisson(1)), CONSTANT))


@pytest.mark.parametrize(("jitter_s", "fails"), [(0.001, False), (0.006, True)])
def test_a_jitter_below_any_servers_grain_is_let_pass(
    rows: Rows, jitter_s: float, *, fails: bool
) -> None:
    due = [n / 400 for n in range(12_000)]
    strays = np.abs(np.random.default_rng(4).normal(0, jitter_s, len(due)))
    sent = rows(due, lambda n: {"sent_s": due[n] + strays[n]})
    check = verdicts(sent, Asked(rate=400.0, arrivals="constant"))["arrival_cv"]
    assert (check.verdict is Verdict.FAIL) == fails


def renewal(seed: int, cv: float, pace: Pace) -> list[float]:
    shape = 1 / cv**2
    gaps = np.random.default_rng(seed).gamma(shape, 1 / shape, size=3000)
    return [at for n in np.cumsum(gaps) if (at := pace.due(float(n))) < WINDOW[1]]


@pytest.mark.parametrize("cv", [0.3, 2.0])
def test_gamma_is_held_against_its_own_burstiness(rows: Rows, cv: float) -> None:
    asked = Asked(rate=20.0, arrivals="gamma", cv=cv)
    sound = [failed(verdicts(rows(renewal(seed, cv, Pace(20.0))), asked)) for seed in range(40)]
    assert sum(bool(names & {"arrival_cv", "achieved_rate"}) for names in sound) <= 1
    assert "arrival_cv" in failed(verdicts(rows(poisson(1)), asked))
    assert "arrival_cv" in failed(verdicts(rows(renewal(1, cv, Pace(20.0))), POISSON))


@pytest.mark.parametrize(("arrivals", "cv"), [("poisson", 1.0), ("gamma", 0.5)])
def test_a_ramp_is_held_against_its_own_rates(rows: Rows, arrivals: Any, cv: float) -> None:
    ramp = (Piece(10.0, 5.0, 5.0), Piece(20.0, 5.0, 55.0))
    given = None if arrivals == "poisson" else cv
    asked = Asked(rate=55.0, arrivals=arrivals, cv=given, ramp=ramp)
    at = renewal(3, cv, Pace(55.0, ramp))
    checks = verdicts(rows(at), asked)
    assert failed(checks) == set()
    assert checks["steady_state"].verdict is Verdict.UNKNOWN
    assert "backlog_growth" not in checks
    assert {"achieved_rate", "arrival_cv"} <= failed(verdicts(rows(at), CONSTANT))
    even = renewal(3, cv, Pace(len(at) / 30))
    assert "arrival_cv" in failed(verdicts(rows(even), asked))


def test_errors_fail_beyond_chance_and_name_the_commonest(rows: Rows) -> None:
    def change(n: int) -> dict[str, Any]:
        return {"error": "http", "error_detail": "HTTP 429: slow down"} if n % 20 == 0 else {}

    check = verdicts(rows(STEADY, change))["error_share"]
    assert check.verdict is Verdict.FAIL
    assert check.figure == pytest.approx(0.05)
    assert "HTTP 429: slow down" in check.advice
    one = rows(STEADY, lambda n: change(0) if n == 0 else {})
    assert verdicts(one)["error_share"].verdict is Verdict.WARN


def test_answers_of_another_length_fail(rows: Rows) -> None:
    check = verdicts(rows(STEADY, lambda n: {"output_tokens": 9 if n % 10 == 0 else 10}))
    assert failed(check) == {"output_tokens_exact"}
    assert "-1 tokens" in check["output_tokens_exact"].advice


def test_events_are_no_count_of_tokens(rows: Rows) -> None:
    silent = rows(STEADY, lambda _: {"output_tokens": 5, "prompt_tokens": None})
    checks = verdicts(silent)
    assert checks["output_tokens_exact"].verdict is Verdict.UNKNOWN
    assert checks["prompt_tokens_exact"].verdict is Verdict.UNKNOWN


def test_a_template_adds_tokens(rows: Rows) -> None:
    chat = rows(STEADY, lambda _: {"prompt_tokens": 117})
    asked = Asked(rate=20.0, arrivals="constant", api="chat")
    assert verdicts(chat, asked)["prompt_tokens_exact"].verdict is Verdict.WARN
    assert failed(verdicts(chat)) == {"prompt_tokens_exact"}
    begin = rows(STEADY, lambda _: {"prompt_tokens": 101})
    assert verdicts(begin)["prompt_tokens_exact"].verdict is Verdict.WARN


def test_a_load_above_saturation_is_caught(rows: Rows) -> None:
    # served at 18/s of 20/s: the wait grows by 0.1 s each second
    growing = rows(STEADY, moved(lambda at: 0.14 + at / 9, STEADY))
    checks = verdicts(growing)
    assert failed(checks) == {"steady_state", "backlog_growth"}
    assert checks["backlog_growth"].figure == pytest.approx(0.1, abs=0.02)
    assert "above what the server can serve" in checks["steady_state"].advice


def test_a_queue_that_only_ends_in_timeouts_is_caught(rows: Rows) -> None:
    def change(n: int) -> dict[str, Any]:
        return moved(lambda at: 0.14 + at, STEADY)(n) | (
            {"error": "timeout", "last_token_s": None} if n > 200 else {}
        )

    assert {"steady_state", "error_share", "backlog_growth"} <= failed(
        verdicts(rows(STEADY, change))
    )


def test_a_warm_up_too_short_is_caught(rows: Rows) -> None:
    warming = rows(STEADY, moved(lambda at: 1.0 - at / 40, STEADY))
    checks = verdicts(warming)
    assert failed(checks) == {"steady_state"}
    assert "warmup" in checks["steady_state"].advice


def test_noise_is_no_trend() -> None:
    rng = np.random.default_rng(3)
    at = np.arange(600) / 20
    found = [latency_trend(at, rng.exponential(size=600)) for _ in range(400)]
    share = np.mean([trend is not None and trend.significant for trend in found])
    assert share < 0.03


def test_the_table_of_student_t() -> None:
    for freedom, point in STUDENT_T_99.items():
        assert point == pytest.approx(stats.t.ppf(0.995, freedom), abs=1e-3)


@pytest.mark.parametrize(
    ("samples", "hits", "share"), [(10, 1, 0.01), (600, 12, 0.01), (5, 0, 0.2)]
)
def test_chance_is_the_binomial_tail(samples: int, hits: int, share: float) -> None:
    assert chance(samples, hits, share) == pytest.approx(stats.binom.sf(hits - 1, samples, share))
