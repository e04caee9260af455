from __future__ import annotations

import base64
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.incoming import Blocks, Incoming
from llmatrix.sim.picker_config import load
from llmatrix.sim.picking import pick_any, pick_best, pick_weighted
from llmatrix.sim.profiles import RANDOM, PickerConfig
from llmatrix.sim.scheduling import Scheduler

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - load balancing is no secret


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint.at(f"http://10.0.0.{number}:8000") for number in range(1, count + 1)]


def config(*plugins: str) -> PickerConfig:
    return load(f"{HEAD}plugins:\n" + "".join(f"- {plugin}\n" for plugin in plugins))


def scores(plugin: str, pool: list[Endpoint], incoming: Incoming | None = None) -> list[float]:
    scheduler = Scheduler(config(plugin), seeded(1))
    return scheduler.scorers[0].score(incoming or Incoming(), pool)


def chosen_by(scheduler: Scheduler, incoming: Incoming, pool: list[Endpoint]) -> Endpoint:
    choice = scheduler.choose(incoming, pool)
    assert choice is not None
    assert choice.prefill is None
    return choice.endpoint


def test_queue_scorer() -> None:
    pool = endpoints(3)
    for endpoint, waiting in zip(pool, (2, 6, 10), strict=True):
        endpoint.waiting = waiting

    assert scores("type: queue-scorer", pool) == [1.0, 0.5, 0.0]
    assert scores("type: queue-scorer", pool[:1]) == [1.0]


def test_running_requests_size_scorer() -> None:
    pool = endpoints(2)
    pool[0].running = 4

    assert scores("type: running-requests-size-scorer", pool) == [0.0, 1.0]


def test_kv_cache_utilization_scorer() -> None:
    pool = endpoints(2)
    pool[0].kv_usage = 0.25

    assert scores("type: kv-cache-utilization-scorer", pool) == [0.75, 1.0]


def test_load_aware_scorer() -> None:
    pool = endpoints(4)
    for endpoint, waiting in zip(pool, (0, 5, 10, 99), strict=True):
        endpoint.waiting = waiting

    found = scores("{type: load-aware-scorer, parameters: {threshold: 10}}", pool)
    assert found == [0.5, 0.25, 0.0, 0.0]


def test_active_request_scorer() -> None:
    pool = endpoints(3)
    assert scores("type: active-request-scorer", pool) == [1.0, 1.0, 1.0]
    pool[1].active, pool[2].active = 1, 4

    assert scores("type: active-request-scorer", pool) == [1.0, 0.75, 0.0]


def test_active_request_scorer_may_hold_busy_replicas_below_idle_ones() -> None:
    pool = endpoints(3)
    pool[0].active, pool[1].active, pool[2].active = 1, 2, 4
    plugin = "{type: active-request-scorer, parameters: {idleThreshold: 1, maxBusyScore: 0.5}}"

    assert scores(plugin, pool) == [1.0, 0.25, 0.0]


def test_no_hit_lru_scorer_sends_cold_requests_round() -> None:
    pool = endpoints(3)
    scheduler = Scheduler(config("type: no-hit-lru-scorer"), seeded(1))
    assert scheduler.scorers[0].score(Incoming(), pool) == [1.0, 0.5, 0.0]

    order = [chosen_by(scheduler, Incoming(), pool) for _ in range(6)]

    assert order == [*pool, *pool]
    warm = Incoming(blocks={"prefix-cache-scorer": Blocks([1], 64, {pool[1]: 1})})
    assert scheduler.scorers[0].score(warm, pool) == [0.5] * 3
    scheduler.drop(pool[0])
    assert scheduler.scorers[0].score(Incoming(), pool) == [1.0, 0.5, 0.0]
    assert scheduler.scorers[0].score(Incoming(), pool[:1]) == [1.0]


@pytest.mark.parametrize(
    ("label", "tokens", "score"),
    [
        (None, 10, 0.5),
        ("nonsense", 10, 0.0),
        ("9-1", 5, 0.0),
        ("10-10", 10, 1.0),
        # 0.3 + 0.7 × (0.7 ÷ (1 + 0.2) + 0.3 × 0.5), and 0.3 ÷ (1 + 1)
        ("0-2000", 1000, 0.3 + 0.7 * (0.7 / 1.2 + 0.15)),
        ("0-2000", 3000, 0.15),
        ("3000-4000", 2000, 0.15),
    ],
)
def test_context_length_aware(label: str | None, tokens: int, score: float) -> None:
    pool = endpoints(1)
    pool[0].labels = {} if label is None else {"llm-d.ai/context-length-range": label}
    found = scores("type: context-length-aware", pool, Incoming(prompt=b"x" * 4 * tokens))

    assert found == [pytest.approx(score)]


def test_lora_affinity_scorer_finds_no_adapter() -> None:
    assert scores("type: lora-affinity-scorer", endpoints(2)) == [0.0, 0.0]


def test_session_affinity_scorer() -> None:
    pool = endpoints(2)
    token = base64.b64encode(pool[1].address.encode())

    for headers in (
        {b"cookie": b"a=b; llm-d-session=" + token},
        {b"x-session-token": token},
    ):
        found = scores("type: session-affinity-scorer", pool, Incoming(headers=headers))
        assert found == [0.0, 1.0]
    nonsense = Incoming(headers={b"x-session-token": b"%%%"})
    assert scores("type: session-affinity-scorer", pool, nonsense) == [0.0, 0.0]


def test_a_session_comes_back_to_where_it_was() -> None:
    pool = endpoints(4)
    scheduler = Scheduler(config("type: session-affinity-scorer"), seeded(2))
    first = chosen_by(scheduler, Incoming(), pool)
    lines = scheduler.answer_headers(first).split(b"\r\n")
    cookie = lines[0].removeprefix(b"set-cookie: ").partition(b";")[0]

    again = {chosen_by(scheduler, Incoming(headers={b"cookie": cookie}), pool) for _ in range(20)}

    assert again == {first}


def test_prefix_cache_scorer_learns_where_it_routed() -> None:
    pool = endpoints(3)
    scheduler = Scheduler(
        config("{type: prefix-cache-scorer, parameters: {autoTune: false, blockSize: 4}}"),
        seeded(3),
    )
    scorer = scheduler.scorers[0]
    asked = Incoming("m", b"aaaabbbbcccc")
    chosen = chosen_by(scheduler, asked, pool)
    others = [0.0 if endpoint is not chosen else 1.0 for endpoint in pool]

    assert scorer.score(Incoming("m", b"aaaabbbbcccc"), pool) == others
    half = scorer.score(Incoming("m", b"aaaabbbbxxxxyyyyz"), pool)
    assert half == [score / 2 for score in others]
    assert scorer.score(Incoming("other", b"aaaabbbbcccc"), pool) == [0.0] * 3
    assert scorer.score(Incoming("m", b"aaaabbbbcccc", salt="s"), pool) == [0.0] * 3
    assert scorer.score(Incoming("m", b"aaa"), pool) == [0.0] * 3
    scheduler.drop(chosen)
    assert scorer.score(Incoming("m", b"aaaabbbbcccc"), pool) == [0.0] * 3


def test_the_prefix_scorers_block_size_follows_the_servers() -> None:
    pool = endpoints(1)
    scheduler = Scheduler(config("type: prefix-cache-scorer"), seeded(3))
    asked = Incoming("m", b"x" * 640)
    scheduler.choose(asked, pool)
    assert len(asked.blocks["prefix-cache-scorer"].hashes) == 640 // 64

    pool[0].block_size = 32
    scheduler.choose(asked, pool)
    assert len(asked.blocks["prefix-cache-scorer"].hashes) == 640 // (32 * 4)


def test_the_prefix_scorer_forgets_on_reset() -> None:
    pool = endpoints(2)
    scheduler = Scheduler(config("type: prefix-cache-scorer"), seeded(3))
    scheduler.choose(Incoming("m", b"x" * 640), pool)
    scheduler.reset()

    assert scheduler.scorers[0].score(Incoming("m", b"x" * 640), pool) == [0.0, 0.0]


def test_weights_add_up_and_scores_are_held_between_0_and_1() -> None:
    pool = endpoints(2)
    pool[0].waiting, pool[1].kv_usage = 10, 0.6
    text = (
        f"{HEAD}plugins:\n- type: queue-scorer\n- type: kv-cache-utilization-scorer\n"
        "schedulingProfiles:\n- name: p\n  plugins:\n"
        "  - {pluginRef: queue-scorer, weight: WEIGHT}\n"
        "  - pluginRef: kv-cache-utilization-scorer\n"
    )
    # With queue weight 1: 0 + 1 against 1 + 0.4; with weight 0: 1 against 0.4.
    for weight, best in (("1", pool[1]), ("0", pool[0])):
        scheduler = Scheduler(load(text.replace("WEIGHT", weight)), seeded(4))
        assert chosen_by(scheduler, Incoming(), pool) is best
    pool[0].waiting, pool[1].kv_usage, pool[0].kv_usage = 0, 9.0, 0.9
    scheduler = Scheduler(load(text.replace("WEIGHT", "1")), seeded(4))
    assert chosen_by(scheduler, Incoming(), pool) is pool[0]


def test_equals_are_chosen_at_random() -> None:
    pool = endpoints(4)
    scheduler = Scheduler(RANDOM, seeded(5))
    counts = Counter(chosen_by(scheduler, Incoming(), pool).address for _ in range(4000))

    assert len(counts) == 4
    assert all(850 < count < 1150 for count in counts.values())


def test_the_highest_score_is_chosen_and_ties_are_broken_at_random() -> None:
    rng = seeded(6)
    counts = Counter(pick_best([0.5, 1.0, 1.0], rng) for _ in range(1000))

    assert set(counts) == {1, 2}
    assert 400 < counts[1] < 600


def test_weighted_choice_is_in_proportion_to_scores() -> None:
    rng = seeded(7)
    counts = Counter(pick_weighted([0.0, 1.0, 3.0], rng) for _ in range(4000))

    assert set(counts) == {1, 2}
    assert counts[2] / 4000 == pytest.approx(0.75, abs=0.03)
    assert set(Counter(pick_weighted([0.0, 0.0], rng) for _ in range(100))) == {0, 1}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.integers(0, 1000))
def test_every_picker_picks_one(found: list[float], seed: int) -> None:
    for pick in (pick_best, pick_any, pick_weighted):
        assert 0 <= pick(found, seeded(seed)) < len(found)
