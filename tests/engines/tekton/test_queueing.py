"""What a PipelineRun tells its queue."""

from __future__ import annotations

import pytest

from llmatrix.engines.tekton.queueing import millicores
from llmatrix.engines.tekton.timeouts import duration, waiting_s, written


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("500m", 500), ("2", 2000), ("1.5", 1500), ("1k", 1_000_000), ("1Ki", 1_024_000)],
)
def test_amounts_of_cpu_are_read_as_kubernetes_writes_them(quantity: str, expected: int) -> None:
    assert millicores(quantity) == expected


def test_durations_are_written_as_go_reads_them() -> None:
    told = {0: "0m0s", 59: "0m59s", 60: "1m0s", 3600: "1h0m0s", 90_061: "25h1m1s"}
    assert {seconds: duration(seconds) for seconds in told} == told


def test_trials_that_begin_together_wait_for_the_slots_before_them() -> None:
    assert waiting_s([10, 20, 30], slots=1) == 90
    assert waiting_s([10, 20, 30], slots=2) == 60
    assert waiting_s([10, 20, 30], slots=5) == 30


def test_finally_has_room_for_the_longest_trials() -> None:
    few, many = (written([100] * n, [100] * n) for n in (2, 50))
    assert few["finally"] == duration(200 + 1200)
    assert many["finally"] == duration(500 + 1200)
