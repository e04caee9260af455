"""The scraper of server metrics apart from any load."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from llmatrix.harness.native.scrape import Scraper

TURNS = 12
"""Turns of the loop within which a fetch of the test begins and has ended."""


@pytest.mark.parametrize("turns", range(TURNS))
def test_it_ends_whenever_it_is_stopped(turns: int, tmp_path: Path) -> None:
    """A fetch that ends in the very turn of the loop in which it is stopped keeps nobody waiting.

    asyncio.wait_for of Python 3.11 swallows a cancellation that meets a result.
    """

    class Ready(Scraper):
        async def _fetch(self, url: str) -> bytes:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return url.encode()

    async def stopped() -> None:
        scraper = Ready(("http://127.0.0.1:1/metrics",), None, tmp_path / "scrapes")
        scraper.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(0.5):
            await scraper.stop()

    uvloop.run(stopped())
