"""What the sender sees of itself."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from llmatrix.harness.native.probe import Probe, clocks, cores


async def watched(busy_s: float, blocks_s: float) -> Probe:
    """Watch a loop for 1.5 s that is held up every 50 ms."""
    opened = iter(range(1000))
    probe = Probe(lambda: next(opened))
    now = time.monotonic_ns()
    probe.watch(now, now + 1_500_000_000)
    end = time.monotonic() + 1.7
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
        time.sleep(blocks_s)  # noqa: ASYNC251 - that is what is to be seen
        until = time.process_time() + busy_s
        while time.process_time() < until:
            pass
    return probe


@pytest.mark.slow
def test_a_loop_that_is_held_up_is_seen() -> None:
    figures = asyncio.run(watched(0.02, 0.03)).figures()
    assert figures["loop_lag_ms_p99"] is None or figures["loop_lag_ms_p99"] >= 15
    cpu = figures["cpu"]
    assert cpu is not None
    assert 0.05 < cpu < 1.1
    assert figures["connections_opened"] == 1
    assert figures["cores"] == cores() >= 1
    assert (figures["rss_bytes"] or 0) > 1_000_000


@pytest.mark.parametrize("over", [True, False])
def test_a_run_that_ends_with_the_window_has_all_figures(*, over: bool) -> None:
    """The last look need not wait for the timer, which rings up to 50 ms after the window."""

    async def closed() -> Probe:
        opened = iter([3, 5])
        probe = Probe(lambda: next(opened))
        now = time.monotonic_ns()
        probe.watch(now, now + (30_000_000 if over else 60_000_000_000))
        await asyncio.sleep(0.001)
        time.sleep(0.03)  # noqa: ASYNC251 - the timer must not ring first
        probe.close()
        probe.close()
        return probe

    figures = asyncio.run(closed()).figures()
    assert figures["connections_opened"] == (2 if over else None)
    assert ("cpu" in figures) == over


def test_a_percentile_of_lags_is_the_upper_edge_of_its_bin() -> None:
    async def lags() -> Probe:
        return Probe(lambda: 0)

    probe = asyncio.run(lags())
    assert probe.loop_lag_ms_p99 is None
    for late_ms, times in ((0.5, 985), (7.0, 14), (5000.0, 1)):
        probe._lags[min(50_000, int(late_ms / 0.02))] += times
        probe._beats += times
    assert probe.loop_lag_ms_p99 == pytest.approx(7.02, abs=0.03)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_clocks_run_forward() -> None:
    first = clocks()
    sum(range(100_000))
    second = clocks()
    assert first.waited is not None
    assert second.waited is not None
    assert second.waited >= first.waited
    assert second.cpu > first.cpu
    assert first.stolen is not None
