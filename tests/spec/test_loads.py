from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llmatrix.pace import Piece
from llmatrix.spec.workloads import ClosedLoop, OpenLoop, RampedLoop, RandomWorkload

SEGMENTS = [{"rate": 5, "duration": "10s"}, {"rate": "5/s", "to": 50, "duration": 20}]


def workload(load: Any) -> RandomWorkload:
    base = {"kind": "random", "question_len": 9, "output_len": 9}
    return RandomWorkload.model_validate({**base, "load": load})


@pytest.mark.parametrize(
    ("load", "model"),
    [
        ({"rate": 20}, OpenLoop),
        ({"rate": 20, "arrivals": "gamma", "cv": 2}, OpenLoop),
        ({"ramp": SEGMENTS, "arrivals": "constant"}, RampedLoop),
        ({"concurrency": 4}, ClosedLoop),
    ],
)
def test_a_load_is_known_by_its_key(load: dict[str, Any], model: type) -> None:
    found = workload(load).load
    assert type(found) is model
    assert workload(found).load is found


def test_a_ramp_is_pieces_of_a_pace() -> None:
    load = workload({"ramp": SEGMENTS}).load
    assert isinstance(load, RampedLoop)
    assert load.pieces == (Piece(10.0, 5.0, 5.0), Piece(20.0, 5.0, 50.0))
    assert load.final_rate == 50.0
    again = RandomWorkload.model_validate(workload({"ramp": SEGMENTS}).model_dump(mode="json"))
    assert again.load == load


@pytest.mark.parametrize(
    ("arrivals", "cv", "asked"),
    [("poisson", None, 1.0), ("constant", None, 0.0), ("gamma", 0.5, 0.5)],
)
def test_arrivals_ask_for_the_spread_of_their_gaps(
    arrivals: str, cv: float | None, asked: float
) -> None:
    load = workload({"rate": 2, "arrivals": arrivals, "cv": cv}).load
    assert isinstance(load, OpenLoop)
    assert load.gap_cv == asked


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ({"rate": 2, "concurrency": 2}, "open loop whose rate changes"),
        ({"rate": 2, "ramp": SEGMENTS}, "open loop whose rate changes"),
        ({"ramp": []}, "at least 1 item"),
        ({"ramp": [{"rate": 0, "duration": 1}]}, "greater than 0"),
        ({"ramp": [{"rate": 1, "duration": 31}]}, "set duration: 31s"),
        ({"rate": 2, "arrivals": "gamma"}, "gamma needs it"),
        ({"rate": 2, "cv": 2.0}, "cv goes with"),
        ({"rate": 2, "arrivals": "gamma", "cv": 0.0}, "greater than 0"),
        ({"rate": 2, "arrivals": "gamma", "cv": 11.0}, "less than or equal to 10"),
    ],
)
def test_what_cannot_be_sent_is_refused(load: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        workload(load)
