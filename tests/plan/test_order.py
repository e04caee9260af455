"""The drawn order: a permutation, the same for a seed, that changes dear things least often."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from llmatrix.plan.order import Block, Placed, split_plot

placements = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)),
    max_size=60,
).map(
    lambda rows: [
        Placed(number, repetition, f"m{model}", f"r{repetition}m{model}b{block}", f"f{front}")
        for number, (repetition, model, block, front) in enumerate(rows)
    ]
)


def flat(blocks: list[Block]) -> list[int]:
    return [number for block in blocks for number in block.flat()]


def changes(labels: list[str]) -> int:
    return sum(1 for one, other in itertools.pairwise(labels) if one != other)


@given(placements, st.integers(0, 5))
def test_every_trial_comes_once(placed: list[Placed], seed: int) -> None:
    assert sorted(flat(split_plot(placed, seed))) == list(range(len(placed)))


@given(placements, st.integers(0, 5))
def test_deployments_change_as_seldom_as_can_be(placed: list[Placed], seed: int) -> None:
    order = [placed[number] for number in flat(split_plot(placed, seed))]
    blocks = {each.block for each in placed}
    fronts = {(each.block, each.front) for each in placed}
    assert changes([each.block for each in order]) == max(len(blocks) - 1, 0)
    assert changes([f"{each.block}{each.front}" for each in order]) == max(len(fronts) - 1, 0)
    models = {(each.repetition, each.model) for each in placed}
    assert changes([f"{each.repetition}{each.model}" for each in order]) == max(len(models) - 1, 0)


@given(placements, st.integers(0, 5))
def test_the_same_seed_draws_the_same_order(placed: list[Placed], seed: int) -> None:
    assert flat(split_plot(placed, seed)) == flat(split_plot(placed, seed))


def test_seeds_draw_different_orders_at_every_level() -> None:
    placed = [Placed(n, 0, f"m{n % 2}", f"m{n % 2}b{n % 4}", f"f{n % 8}") for n in range(64)]
    orders = [[placed[n] for n in flat(split_plot(placed, seed))] for seed in range(20)]
    assert len({order[0].model for order in orders}) == 2
    assert len({order[0].block for order in orders}) == 4
    assert len({order[0].front for order in orders}) > 4
    assert len({order[0].number for order in orders}) > 8
