"""Names and label values: always ones that Kubernetes accepts, never alike by accident."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.cluster.labels import selector
from llmatrix.cluster.naming import dns_name, label_value, short_hash

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@given(st.lists(st.text(max_size=90), min_size=1, max_size=3), st.integers(20, 63))
def test_any_text_becomes_a_name(parts: list[str], limit: int) -> None:
    name = dns_name(*parts, limit=limit)
    assert NAME.fullmatch(name)
    assert len(name) <= limit


@given(st.text(max_size=200))
def test_any_text_becomes_a_label_value(text: str) -> None:
    assert LABEL.fullmatch(label_value(text))


@given(st.lists(st.text(max_size=70), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_names(texts: list[str]) -> None:
    assert dns_name(texts[0]) != dns_name(texts[1])
    assert label_value(texts[0]) != label_value(texts[1])


@pytest.mark.parametrize("name", ["a", "server-0", "x" * 63])
def test_what_fits_stays(name: str) -> None:
    assert dns_name(name) == name
    assert label_value(name) == name


def test_the_bounds_between_parts_count() -> None:
    assert short_hash("a", "bc") != short_hash("ab", "c")
    assert dns_name("A", "b") != dns_name("a", "B")


def test_a_selector_says_equal_or_there() -> None:
    assert selector({"a/b": "c", "d": None}) == "a/b=c,d"
