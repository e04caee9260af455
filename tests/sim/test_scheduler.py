from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmatrix.sim.latency import Load, StepTime
from llmatrix.sim.scheduler import Engine, Limits, Sequence, State

EngineOf = Callable[..., Engine]


def test_one_request_alone_takes_its_prefill_and_one_step_for_each_further_token(
    engine_of: EngineOf, times: StepTime, tools: Any
) -> None:
    engine = engine_of()
    sequence = tools.prompt(range(1000), max_tokens=100)
    engine.add(sequence)
    prefill = times(Load(1000, 1000 * 1001 // 2, 1000, 1))
    decode = sum(times(Load(1, 1000 + n, 1000 + n, 1)) for n in range(1, 100))

    end = tools.drain(engine)

    assert sequence.first_token_at == pytest.approx(prefill)
    assert end == pytest.approx(prefill + decode)
    assert sequence.generated == 100


def test_a_long_prompt_is_prefilled_in_chunks_while_others_decode(
    engine_of: EngineOf, tools: Any
) -> None:
    engine = engine_of(max_num_batched_tokens=100)
    short, long = tools.prompt([1], max_tokens=50), tools.prompt(range(10, 260), max_tokens=1)
    engine.add(short)
    step = engine.schedule(0.0)
    assert step is not None
    engine.finish(step, 0.1)
    engine.add(long)
    counts = []
    while long.state is not State.FINISHED:
        step = engine.schedule(1.0)
        assert step is not None
        counts.append({s is long: count for s, count in step.work})
        engine.finish(step, 1.0)

    assert counts == [{False: 1, True: 99}, {False: 1, True: 99}, {False: 1, True: 52}]
    assert short.generated == 4


def test_no_batch_is_larger_than_max_num_seqs(engine_of: EngineOf, tools: Any) -> None:
    engine = engine_of(max_num_seqs=3)
    for number in range(5):
        engine.add(tools.prompt([number], max_tokens=2))

    step = engine.schedule(0.0)

    assert step is not None
    assert (len(step.work), len(engine.running), len(engine.waiting)) == (3, 3, 2)


@pytest.mark.parametrize(
    ("tokens", "hits"), [(15, 0), (16, 0), (17, 16), (32, 16), (33, 32), (100, 96)]
)
def test_a_repeated_prompt_hits_its_full_blocks_but_never_its_last_token(
    engine_of: EngineOf, tools: Any, tokens: int, hits: int
) -> None:
    engine = engine_of()
    for _ in range(2):
        engine.add(tools.prompt(range(tokens)))
        tools.drain(engine)

    assert (engine.counters.prefix_queries, engine.counters.prefix_hits) == (2 * tokens, hits)


def test_hits_end_where_prompts_part(engine_of: EngineOf, tools: Any) -> None:
    engine = engine_of()
    engine.add(tools.prompt([*range(64), *range(1000, 1100)]))
    tools.drain(engine)
    other = tools.prompt([*range(64), *range(2000, 2100)])
    same_but_shifted = tools.prompt([5, *range(64), *range(1000, 1099)])
    engine.add(other)
    engine.add(same_but_shifted)
    tools.drain(engine)

    assert (other.cached, same_but_shifted.cached) == (64, 0)


def test_an_answer_is_cached_for_the_next_turn(engine_of: EngineOf, tools: Any) -> None:
    from llmatrix.sim.tokens import WORD_IDS, word_at  # noqa: PLC0415

    engine = engine_of()
    first = tools.prompt(range(20), max_tokens=30)
    engine.add(first)
    tools.drain(engine)
    answer = [WORD_IDS[word_at(first.first_word, n)] for n in range(30)]
    second = tools.prompt([*range(20), *answer, 1, 2, 3])
    engine.add(second)
    tools.drain(engine)

    # The last token of the answer was never fed back, so 49 of its 50 tokens have an entry.
    assert second.cached == 48


def test_different_salts_share_nothing_and_without_caching_nothing_hits(
    engine_of: EngineOf, tools: Any
) -> None:
    salted, plain = engine_of(), engine_of(enable_prefix_caching=False)
    for salt in (1, 2):
        prompt = tools.prompt(range(100))
        prompt.salt = salt
        salted.add(prompt)
        tools.drain(salted)
        plain.add(tools.prompt(range(100)))
        tools.drain(plain)

    assert salted.counters.prefix_hits == 0
    assert (plain.counters.prefix_queries, plain.pool.cached) == (0, 0)


def test_when_memory_is_out_the_latest_is_preempted_and_finishes_later(
    engine_of: EngineOf, tools: Any
) -> None:
    engine = engine_of(kv_tokens=160, enable_prefix_caching=False)
    first, second = (tools.prompt([n] * 70, max_tokens=60) for n in (1, 2))
    engine.add(first)
    engine.add(second)

    tools.drain(engine)

    assert (first.preemptions, second.preemptions) == (0, 1)
    assert (first.generated, second.generated) == (60, 60)
    assert first.last_token_at <= second.last_token_at
    assert engine.counters.generated_tokens == 120
    assert engine.pool.available == engine.pool.total


def test_an_aborted_sequence_frees_its_blocks_at_once_and_gets_no_token(
    engine_of: EngineOf, tools: Any
) -> None:
    engine = engine_of(max_num_seqs=1)
    running, waiting = tools.prompt(range(100), max_tokens=9), tools.prompt([1])
    engine.add(running)
    engine.add(waiting)
    step = engine.schedule(0.0)
    assert step is not None
    engine.abort(waiting)
    engine.abort(running)
    engine.abort(running)

    assert engine.pool.held == 0
    assert engine.finish(step, 1.0) == []
    assert engine.schedule(1.0) is None
    assert engine.counters.aborted == 2


def test_a_step_that_begins_late_does_not_see_what_came_after_it_should_have_begun(
    engine_of: EngineOf, tools: Any
) -> None:
    engine = engine_of()
    engine.add(tools.prompt([1], arrival=5.0))

    assert engine.schedule(4.0) is None
    assert engine.schedule(5.0) is not None


def test_forgetting_prefixes_tells_the_truth(engine_of: EngineOf, tools: Any) -> None:
    engine = engine_of()
    engine.add(tools.prompt(range(100), max_tokens=2))
    step = engine.schedule(0.0)
    assert step is not None

    assert engine.forget_prefixes() is False
    engine.finish(step, 1.0)
    tools.drain(engine)
    assert engine.forget_prefixes() is True
    again = tools.prompt(range(100))
    engine.add(again)
    tools.drain(engine)
    assert again.cached == 0


def test_steps_take_longer_for_a_larger_batch_and_a_longer_context(
    engine_of: EngineOf, tools: Any
) -> None:
    def decode_step(batch: int, context: int) -> float:
        engine = engine_of(max_num_batched_tokens=100_000)
        for number in range(batch):
            engine.add(tools.prompt([number] * context, max_tokens=3))
        first = engine.schedule(0.0)
        assert first is not None
        engine.finish(first, 0.0)
        second = engine.schedule(0.0)
        assert second is not None
        assert second.load == Load(batch, batch * (context + 1), batch * (context + 1), batch)
        return second.seconds

    by_batch = [decode_step(batch, 256) for batch in (1, 8, 64)]
    by_context = [decode_step(8, context) for context in (16, 256, 4096)]

    assert by_batch == sorted(set(by_batch))
    assert by_context == sorted(set(by_context))


@dataclass(eq=False)
class Asked:
    """One request of a story, in steps from its beginning."""

    at: int
    sequence: Sequence
    aborted_at: int | None
    told: int = 0


@st.composite
def stories(draw: st.DrawFn) -> list[Asked]:
    story, at = [], 0
    for number in range(draw(st.integers(1, 12))):
        at += draw(st.integers(0, 4))
        length, shared = draw(st.integers(1, 150)), draw(st.integers(0, 150))
        ids = [*range(min(shared, length)), *[1000 + number] * max(0, length - shared)]
        sequence = Sequence(array("q", ids), draw(st.integers(1, 60)), first_word=7, arrival=0.0)
        after = draw(st.none() | st.integers(0, 40))
        story.append(Asked(at, sequence, None if after is None else at + after))
    return story


@settings(max_examples=150, deadline=None)
@given(
    story=stories(),
    blocks=st.integers(14, 40),
    limits=st.builds(
        Limits,
        max_num_seqs=st.integers(1, 8),
        max_num_batched_tokens=st.integers(1, 200),
        enable_prefix_caching=st.booleans(),
    ),
)
def test_whatever_is_asked_every_token_comes_once_and_no_block_is_lost(
    story: list[Asked], blocks: int, limits: Limits, times: StepTime
) -> None:
    engine = Engine(limits, times, blocks * 16)

    _tell(engine, story)

    for asked in story:
        sequence = asked.sequence
        assert asked.told == sequence.generated <= sequence.max_tokens
        if sequence.state is State.FINISHED:
            assert asked.told == sequence.max_tokens
        else:
            assert sequence.state is State.ABORTED
            assert asked.aborted_at is not None
    assert engine.counters.generated_tokens == sum(asked.told for asked in story)
    assert (engine.pool.held, engine.pool.available) == (0, engine.pool.total)
    assert engine.counters.prefix_hits <= engine.counters.prefix_queries


def _tell(engine: Engine, story: list[Asked]) -> None:
    """Live through a story; every one ends, however often sequences are preempted."""
    by_sequence = {asked.sequence: asked for asked in story}
    for turn in range(20_000):
        for asked in story:
            if asked.at == turn:
                engine.add(asked.sequence)
            if asked.aborted_at == turn:
                engine.abort(asked.sequence)
        step = engine.schedule(float(turn))
        if step is None:
            if turn > story[-1].at:
                return
            continue
        assert 0 < sum(count for _, count in step.work) <= engine.limits.max_num_batched_tokens
        assert len(engine.running) <= engine.limits.max_num_seqs
        _check_references(engine)
        for sequence in engine.finish(step, float(turn)):
            by_sequence[sequence].told += 1
    pytest.fail("the engine never became idle")


def _check_references(engine: Engine) -> None:
    holders: dict[int, int] = {}
    for sequence in engine.running:
        assert len(sequence.blocks) * engine.limits.block_size >= sequence.computed
        for block in sequence.blocks:
            holders[block] = holders.get(block, 0) + 1
    for block, count in holders.items():
        assert engine.pool.references(block) == count
    assert engine.pool.held == len(holders)
    assert all(not sequence.blocks for sequence in engine.waiting)
