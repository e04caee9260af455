"""What ended and was put aside comes back whole, in the order of its schedule."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.forms import Prompt
from llmatrix.harness.native.schedule import PHASES
from llmatrix.harness.native.spool import Spool, in_order, read

MOMENTS = st.none() | st.integers(0, 2**62)
COUNTS = st.none() | st.integers(0, 2**31 - 1)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    asks = Prompt([], draw(COUNTS), draw(st.integers(0, 10**7)), draw(COUNTS), draw(COUNTS))
    number, scheduled = draw(st.integers(0, 2**40)), draw(st.integers(0, 2**62))
    made = Exchange(number, draw(st.sampled_from(PHASES)), scheduled, asks=asks)
    made.sent, made.end = draw(MOMENTS), draw(MOMENTS)
    made.prompt_tokens, made.cached_tokens = draw(COUNTS), draw(COUNTS)
    made.output_tokens, made.status = draw(COUNTS), draw(st.none() | st.integers(100, 599))
    made.server, made.detail = draw(TEXTS), draw(TEXTS)
    made.error = draw(st.none() | st.sampled_from(["http", "connect"]))
    made.finished = draw(st.booleans())
    made.stamps = array("q", draw(st.lists(st.integers(0, 2**62), max_size=9)))
    return made


def told(exchange: Exchange) -> dict[str, object]:
    kept = set(Exchange.__slots__) - {"slot", "words", "resent", "done"}
    return {name: getattr(exchange, name) for name in kept}


@given(made=st.lists(exchanges(), max_size=5))
def test_an_exchange_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, made: list[Exchange]
) -> None:
    path = tmp_path_factory.mktemp("spool") / "one"
    spool = Spool(path)
    for exchange in made:
        spool.add(exchange)
    spool.close()
    assert [told(each) for each in read(path)] == [told(each) for each in made]


def test_more_than_are_written_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "one")
    for number in range(200):
        spool.add(Exchange(number, "window", number))
    spool.close()
    assert [each.number for each in read(tmp_path / "one")] == list(range(200))


def test_the_secret_is_in_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "one", "sk-secret")
    exchange = Exchange(0, "window", 5)
    exchange.fail("http", "wrong key sk-secret")
    spool.add(exchange)
    spool.close()
    assert b"sk-secret" not in (tmp_path / "one").read_bytes()
    (found,) = read(tmp_path / "one")
    assert found.detail == "wrong key ***"


@given(
    ends=st.permutations(range(12)),
    shards=st.integers(1, 4),
    missing=st.sets(st.integers(0, 11), max_size=2),
)
def test_shards_are_merged_by_their_schedule(
    tmp_path_factory: pytest.TempPathFactory, ends: list[int], shards: int, missing: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spools = [Spool(folder / str(shard)) for shard in range(shards)]
    for number in ends:
        if number not in missing:  # as where a process was cut short
            made = Exchange(number, "window", 1000 * number, place=number // shards)
            spools[number % shards].add(made)
    for spool in spools:
        spool.close()
    found = [each.number for each in in_order(folder / str(shard) for shard in range(shards))]
    assert found == [number for number in range(12) if number not in missing]
