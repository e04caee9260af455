"""Waiting for a condition."""

from __future__ import annotations

import threading

import pytest

from llmatrix.errors import Stopped
from llmatrix.stacks.waiting import until


def test_it_asks_until_the_condition_holds() -> None:
    answers = iter([None, 0, "", "found"])
    assert until(lambda: next(answers), 10.0) == "found"


def test_it_asks_at_least_once_and_gives_up_in_time() -> None:
    asked: list[int] = []
    assert until(lambda: asked.append(1), 0.0) is None
    assert asked == [1]


def test_it_ends_when_stopped() -> None:
    stop = threading.Event()

    def condition() -> bool:
        stop.set()
        return False

    with pytest.raises(Stopped):
        until(condition, 60.0, stop=stop)
