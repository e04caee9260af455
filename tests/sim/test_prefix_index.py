from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.prefix_index import PrefixIndex, block_hashes

A, B = (Endpoint.at(f"http://10.0.0.{number}:80") for number in (1, 2))


def test_blocks_are_whole_chained_and_bounded() -> None:
    full = block_hashes(b"aaaabbbbcc", "m", 4, 10)

    assert len(full) == 2
    assert block_hashes(b"aaaabbbbcc", "m", 4, 1) == full[:1]
    assert block_hashes(b"xxxxbbbb", "m", 4, 10)[1] != full[1]
    assert block_hashes(b"aaa", "m", 4, 10) == []


def test_matching_ends_where_nobody_knows_the_block() -> None:
    index = PrefixIndex()
    index.learn([1, 2, 3], A, 10)
    index.learn([1], B, 10)

    assert index.matches([1, 2, 9, 3]) == {A: 2, B: 1}
    assert index.matches([9, 1]) == {}


def test_the_least_recently_routed_block_goes_first() -> None:
    index = PrefixIndex()
    index.learn([1, 2, 3], A, 3)
    index.learn([1], A, 3)
    index.learn([4], A, 3)

    assert (index.matches([1]), index.matches([2]), index.matches([4])) == ({A: 1}, {}, {A: 1})
    assert len(index) == 3


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.lists(st.integers(0, 9), max_size=5)), max_size=20
    ),
    st.integers(1, 6),
)
def test_no_replica_has_more_than_its_capacity_and_nothing_is_left_when_all_are_dropped(
    learnt: list[tuple[Endpoint, list[int]]], capacity: int
) -> None:
    index = PrefixIndex()
    for endpoint, hashes in learnt:
        index.learn(hashes, endpoint, capacity)
        assert len(index) <= 2 * capacity
        if hashes:
            assert endpoint in index.matches(hashes[-1:])
    for endpoint in (A, B):
        index.drop(endpoint)

    assert len(index) == 0
    assert not index._holders
