from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from llmatrix.sim import alarm
from llmatrix.sim.alarm import Alarms


@pytest.mark.parametrize("timerfd", [True, False])
def test_calls_come_in_the_order_of_their_times_and_never_early(
    timerfd: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not timerfd:
        monkeypatch.setattr(alarm._TimerFd, "open", lambda: None)
    rung: list[tuple[int, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        done = asyncio.Event()
        start = time.monotonic()

        def note(number: int, due: float) -> None:
            rung.append((number, time.monotonic() - due))
            if number == 1:
                alarms.at(start + 0.02, lambda: note(2, start + 0.02))
                raise RuntimeError("a call that fails stops no other")
            if number == 4:
                done.set()

        for number, delay in ((4, 0.06), (1, 0.01), (3, 0.04), (0, -1.0)):
            alarms.at(start + delay, lambda n=number, d=start + delay: note(n, d))  # type: ignore[misc]
        async with asyncio.timeout(10):
            await done.wait()
        alarms.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

    assert [number for number, _ in rung] == [0, 1, 2, 3, 4]
    # uvloop's own timers count in milliseconds of a clock that it reads once a turn.
    assert all(late > (0 if timerfd else -0.002) for _, late in rung)
