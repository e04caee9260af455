from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest
import uvloop

from llmatrix.harness.native.alarm import Alarm

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("make", LOOPS)
def test_callbacks_come_in_order_and_never_early(
    make: Callable[[], asyncio.AbstractEventLoop], *, kernel: bool
) -> None:
    async def main() -> None:
        bell = Alarm(asyncio.get_running_loop(), kernel=kernel)
        rung: list[tuple[float, int]] = []
        done = asyncio.Event()
        begin = time.monotonic_ns()

        def ring(after_ms: float) -> None:
            rung.append((after_ms, time.monotonic_ns() - begin))
            if after_ms == 30.0:
                # One that has passed, and one for later, asked for from within.
                bell.at(begin, partial(ring, 30.5))
                bell.at(begin + 40_000_000, partial(ring, 40.0))
            if after_ms == 40.0:
                done.set()

        for after_ms in (30.0, 10.3, 20.0, 10.25, 0.0):
            bell.at(begin + round(after_ms * 1e6), partial(ring, after_ms))
        async with asyncio.timeout(30):
            await done.wait()
        bell.close()
        assert [after for after, _ in rung] == [0.0, 10.25, 10.3, 20.0, 30.0, 30.5, 40.0]
        assert all(at >= after * 1e6 for after, at in rung if after != 30.5)

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


@pytest.mark.parametrize("kernel", [True, False])
def test_nothing_rings_once_it_is_closed(*, kernel: bool) -> None:
    async def main() -> None:
        bell = Alarm(asyncio.get_running_loop(), kernel=kernel)
        rung: list[int] = []
        bell.at(time.monotonic_ns() + 1_000_000, partial(rung.append, 1))
        bell.close()
        await asyncio.sleep(0.02)
        assert rung == []

    asyncio.run(main())
