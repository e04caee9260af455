"""The simulator against what can be computed by hand, on a virtual clock."""

from __future__ import annotations

import random
import statistics
from array import array
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmatrix.sim.faults import Disturbance, Fault
from llmatrix.sim.latency import Load, StepTime
from llmatrix.sim.scheduler import Engine, Limits, Sequence, Step
from llmatrix.sim.virtual import closed_loop, open_loop

EngineOf = Callable[..., Engine]


def prompt(tokens: int, answer: int = 1, arrival: float = 0.0, word: int = 0) -> Sequence:
    """A prompt of one word, repeated: prompts of different words share no block."""
    return Sequence(array("q", [word] * tokens), answer, first_word=7, arrival=arrival)


def whole_prefill(times: StepTime, tokens: int, prompts: int = 1) -> float:
    """Seconds of a step that prefills so many prompts from their first token to their last."""
    attended = prompts * tokens * (tokens + 1) // 2
    return times(Load(prompts * tokens, attended, prompts * tokens, prompts))


def decode(times: StepTime, context: int, sequences: int = 1) -> float:
    """Seconds of a step that gives each sequence a token, over so many of context each."""
    return times(Load(sequences, sequences * context, sequences * context, sequences))


# One request alone


@settings(max_examples=50, deadline=None)
@given(
    tokens=st.integers(1, 3000),
    answer=st.integers(1, 50),
    arrival=st.floats(0, 1e3),
    data=st.data(),
)
def test_a_request_alone_takes_its_prefill_in_chunks_and_a_step_for_each_further_token(
    tokens: int, answer: int, arrival: float, data: st.DataObject, times: StepTime
) -> None:
    budget = data.draw(st.integers(20, 4000))
    engine = Engine(Limits(max_num_batched_tokens=budget), times, 100_000)
    (served,) = open_loop(engine, [prompt(tokens, answer, arrival)])
    chunks = [(at, min(budget, tokens - at)) for at in range(0, tokens, budget)]
    prefill = sum(
        times(Load(size, size * at + size * (size + 1) // 2, at + size, 1)) for at, size in chunks
    )

    assert served.ttft == pytest.approx(prefill, abs=1e-9)
    rest = sum(decode(times, tokens + n) for n in range(1, answer))
    assert served.end - served.first_token == pytest.approx(rest, abs=1e-9)


# A saturated batch


def test_a_saturated_batch_goes_in_rounds_of_known_length(
    engine_of: EngineOf, times: StepTime
) -> None:
    size, tokens, answer, rounds = 16, 512, 100, 5
    engine = engine_of(enable_prefix_caching=False, max_num_batched_tokens=size * tokens)
    asked = [prompt(tokens, answer) for _ in range(size * rounds)]
    served = closed_loop(engine, asked, concurrency=size)
    a_round = whole_prefill(times, tokens, size) + sum(
        decode(times, tokens + n, size) for n in range(1, answer)
    )

    ends = [a_round * number for number in range(1, rounds + 1) for _ in range(size)]
    assert [answer.end for answer in served] == pytest.approx(ends)
    assert [answer.ttft for answer in served] == pytest.approx(
        [whole_prefill(times, tokens, size)] * len(served)
    )


def test_more_than_the_batch_holds_waits_for_whole_rounds(
    engine_of: EngineOf, times: StepTime
) -> None:
    engine = engine_of(enable_prefix_caching=False, max_num_seqs=4)
    served = open_loop(engine, [prompt(100, 10) for _ in range(12)])
    a_round = whole_prefill(times, 100, 4) + sum(decode(times, 100 + n, 4) for n in range(1, 10))

    waits = [answer.ttft - whole_prefill(times, 100, 4) for answer in served]
    assert waits == pytest.approx([0.0] * 4 + [a_round] * 4 + [2 * a_round] * 4, abs=1e-9)


def test_a_closed_loop_may_begin_evenly(engine_of: EngineOf, times: StepTime) -> None:
    served = closed_loop(engine_of(), [prompt(100, word=n) for n in range(8)], 4, ramp=40.0)
    alone = whole_prefill(times, 100)

    # Each that ends makes place for one more, which also ends long before the next slot begins.
    arrivals = sorted(answer.arrival for answer in served)
    first = [alone * number for number in range(5)]
    assert arrivals == pytest.approx([*first, 10.0, 20.0, 30.0])


# A queue: Poisson arrivals, one server, constant service (M/D/1)


def poisson(rate: float, count: int, seed: int, tokens: int) -> list[Sequence]:
    rng = random.Random(seed)  # noqa: S311 - arrivals are no secret
    gaps = accumulate(rng.expovariate(rate) for _ in range(count))
    return [prompt(tokens, arrival=arrival) for arrival in gaps]


@pytest.mark.parametrize("utilization", [0.1, 0.3, 0.5])
def test_waiting_is_that_of_m_d_1(utilization: float, times: StepTime) -> None:
    """Pollaczek and Khinchine: with constant service s, the mean wait is u s / 2 (1 - u)."""
    service = whole_prefill(times, 100)
    engine = Engine(Limits(max_num_seqs=1, enable_prefix_caching=False), times, 10_000)
    asked = poisson(utilization / service, 20_000, seed=11, tokens=100)
    waits = [answer.ttft - service for answer in open_loop(engine, asked)]

    # Of these very arrivals the waits are known (Lindley's recursion); of all, their mean.
    lindley, wait = [], 0.0
    for before, after in pairwise(asked):
        lindley.append(wait)
        wait = max(0.0, wait + service - (after.arrival - before.arrival))
    assert waits == pytest.approx([*lindley, wait], abs=1e-9)
    mean = utilization * service / (2 * (1 - utilization))
    batches = [statistics.fmean(waits[at : at + 500]) for at in range(0, len(waits), 500)]
    error = statistics.stdev(batches) / len(batches) ** 0.5
    assert abs(statistics.fmean(waits) - mean) < 3.5 * error
    assert error < 0.06 * mean


# Hits of the prefix cache


@pytest.mark.parametrize(("prefix", "question"), [(512, 10), (520, 3), (15, 100), (2048, 1)])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_every_question_but_a_groups_first_hits_the_whole_blocks_of_its_prefix(
    engine_of: EngineOf, prefix: int, question: int, concurrency: int
) -> None:
    engine = engine_of(kv_tokens=200_000)
    groups, questions = 5, 7
    asked = []
    for number in range(groups * questions):
        group, own = number % groups, 1000 + number
        ids = array("q", [group] * prefix + [own] * question)
        asked.append(Sequence(ids, 1, first_word=7, arrival=0.0))
    closed_loop(engine, asked, concurrency)

    assert engine.counters.prefix_hits == groups * (questions - 1) * (prefix // 16 * 16)
    assert engine.counters.prefix_queries == groups * questions * (prefix + question)


@pytest.mark.parametrize(("prompts", "hits"), [(4, 3 * 4 * 160), (5, 0)])
def test_the_least_recently_used_is_evicted_first(
    engine_of: EngineOf, prompts: int, hits: int
) -> None:
    """Prompts in turn: all hit while they fit; one more than fits, and LRU keeps none of use."""
    engine = engine_of(kv_tokens=4 * 176)
    asked = [prompt(161, word=number % prompts) for number in range(4 * prompts)]
    closed_loop(engine, asked, concurrency=1)

    assert engine.counters.prefix_hits == hits


# Preemption


def test_preemption_comes_when_blocks_run_out_and_costs_the_tokens_again(
    engine_of: EngineOf, times: StepTime
) -> None:
    """Ten blocks, two prompts of 70: five each are full at 80, and the first needs its sixth."""
    engine = engine_of(kv_tokens=160, enable_prefix_caching=False)
    first, second = prompt(70, 60, word=1), prompt(70, 60, word=2)
    served = open_loop(engine, [first, second])

    together = whole_prefill(times, 70, 2) + sum(decode(times, 70 + n, 2) for n in range(1, 11))
    alone = sum(decode(times, 70 + n) for n in range(11, 60))
    # The second had 11 tokens; it computes those and its prompt again, and that gives the 12th.
    again = whole_prefill(times, 81) + sum(decode(times, 81 + n) for n in range(1, 49))
    assert [answer.end for answer in served] == pytest.approx(
        [together + alone, together + alone + again]
    )
    assert (first.preemptions, second.preemptions) == (0, 1)


# Faults


def test_a_stall_delays_everybody_by_itself_and_a_slow_replica_by_its_factor(
    engine_of: EngineOf,
) -> None:
    def last(*faults: Fault) -> float:
        engine = engine_of(enable_prefix_caching=False)
        asked = [prompt(100, 50) for _ in range(4)]
        return open_loop(engine, asked, Disturbance(faults))[-1].end

    plain = last()
    assert last(Fault("stall", 0, at=plain / 2, lasts=3.0)) == pytest.approx(plain + 3)
    assert last(Fault("slow", 0, factor=3.0)) == pytest.approx(3 * plain)
    unending = open_loop(engine_of(), [prompt(9)], Disturbance([Fault("stall", 0)]))
    assert unending == []


# Properties


@st.composite
def traffic(draw: st.DrawFn) -> list[Sequence]:
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(1, 200), st.integers(1, 40), st.floats(0, 0.5), st.integers(0, 3)
            ),
            min_size=1,
            max_size=15,
        )
    )
    return [prompt(*one) for one in drawn]


@settings(max_examples=120, deadline=None)
@given(
    asked=traffic(),
    blocks=st.integers(16, 40),
    limits=st.builds(
        Limits,
        max_num_seqs=st.integers(1, 8),
        max_num_batched_tokens=st.integers(1, 300),
        enable_prefix_caching=st.booleans(),
    ),
)
def test_tokens_are_conserved_no_block_leaks_and_time_only_goes_on(
    asked: list[Sequence], blocks: int, limits: Limits, times: StepTime
) -> None:
    engine = Engine(limits, times, blocks * 16)
    computed, ends = 0, [0.0]

    def watch(step: Step, begin: float, end: float) -> None:
        nonlocal computed
        assert begin >= ends[-1]
        assert end == begin + step.seconds
        ends.append(end)
        computed += sum(count for _, count in step.work)

    served = open_loop(engine, asked, watch=watch)

    assert {id(answer.sequence) for answer in served} == {id(one) for one in asked}
    assert all(one.generated == one.max_tokens for one in asked)
    assert all(answer.arrival <= answer.first_token <= answer.end for answer in served)
    least = sum(len(one.prompt) + one.max_tokens - 1 for one in asked)
    if not engine.counters.preemptions:
        assert computed == least - engine.counters.prefix_hits
    elif not limits.enable_prefix_caching:
        assert computed > least
    assert (engine.pool.held, engine.pool.available) == (0, engine.pool.total)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.sampled_from([1, 4, 64]))
def test_more_load_never_means_less_waiting(seed: int, batch: int, times: StepTime) -> None:
    """The same arrivals, twice as dense each time."""
    rng = random.Random(seed)  # noqa: S311 - arrivals are no secret
    at = list(accumulate(rng.expovariate(1.0) for _ in range(60)))
    means = []
    for rate in (2.0, 4.0, 8.0, 16.0, 32.0):
        engine = Engine(Limits(max_num_seqs=batch, enable_prefix_caching=False), times, 100_000)
        asked = [prompt(300, 20, arrival / rate) for arrival in at]
        means.append(statistics.fmean(a.end - a.arrival for a in open_loop(engine, asked)))

    assert means == sorted(means)


@pytest.mark.parametrize("limit", [8, 256])
def test_more_concurrency_gives_more_throughput_until_the_batch_is_full(
    limit: int, times: StepTime
) -> None:
    rates: list[float] = []
    for concurrency in (1, 2, 4, 8, 16, 32):
        engine = Engine(Limits(max_num_seqs=limit, enable_prefix_caching=False), times, 200_000)
        asked = [prompt(200, 50) for _ in range(128)]
        rates.append(128 / closed_loop(engine, asked, concurrency)[-1].end)

    full = [1, 2, 4, 8, 16, 32].index(min(limit, 32))
    assert rates[: full + 1] == sorted(set(rates[: full + 1]))
    assert rates[full:] == pytest.approx([rates[full]] * len(rates[full:]), rel=0.02)


@pytest.mark.slow
def test_a_served_replica_keeps_the_virtual_clocks_times(
    programs: Any, tools: Any, times: StepTime
) -> None:
    """The figures that the served replica tells of itself are the model's, to the microsecond."""
    server = programs.serve(model="Qwen/Qwen3-8B")
    body = {"model": "Qwen/Qwen3-8B", "prompt": [1] * 500, "max_tokens": 20}
    assert tools.ask(server.url, "/v1/completions", body).status == 200
    engine = Engine(Limits(), times, 100_000)
    (expected,) = open_loop(engine, [prompt(500, 20)])

    told = tools.metric(server.url, "vllm:time_to_first_token_seconds_sum")
    assert told == pytest.approx(expected.ttft, abs=1e-6)
    told = tools.metric(server.url, "vllm:e2e_request_latency_seconds_sum")
    assert told == pytest.approx(expected.end, abs=1e-6)
