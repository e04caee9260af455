"""One measuring process: orders as a line on standard input, progress as lines on the output.

It ends when standard input does, which is when its parent dies, however it dies.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from llmatrix.harness.native.bodies import address
from llmatrix.harness.native.load import Counts, Load
from llmatrix.harness.native.orders import COLLECT, FAILURE, FIGURES, PROGRESS, WRITTEN, Orders
from llmatrix.harness.native.pool import Pool
from llmatrix.harness.native.probe import Probe
from llmatrix.harness.native.reins import Pipes, Reins
from llmatrix.harness.native.schedule import phase_at
from llmatrix.harness.native.scrape import Scraper
from llmatrix.harness.native.sources import Traffic, UnusableError
from llmatrix.harness.native.spool import Spool

_PROGRESS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Findings:
    """What a shard found, apart from its requests, which are in its spool."""

    counts: Counts
    in_window: int
    zero: int
    probe: Probe
    outage: str | None
    notes: list[str]


def tls_context(orders: Orders) -> ssl.SSLContext | None:
    """Make the context in which certificates are verified, where anything speaks TLS."""
    urls = (orders.base_url, *orders.metrics_urls)
    return ssl.create_default_context() if any(u.startswith("https:") for u in urls) else None


async def measure(
    orders: Orders, traffic: Traffic, reins: Reins, secret: str | None = None
) -> Findings:
    """Send this shard's part of the workload; the secret is in no file.

    Raises:
        UnusableError: the server's certificate does not verify.
    """
    spool = Spool(orders.spool(orders.shard), secret)
    load = Load(orders, traffic.bodies, traffic.due(), spool)
    tls = tls_context(orders)
    pool = await _opened_pool(orders, load, tls)
    scraper = Scraper(orders.metrics_urls if orders.shard == 0 else (), tls, orders.scrapes)
    probe = Probe(lambda: pool.opened)
    zero, _ = await reins.start()
    start, end = orders.window
    probe.watch(zero + round(start * 1e9), zero + round(end * 1e9))
    scraper.start()
    talk = asyncio.gather(_tell_answered(load, reins), _end_when_told(load, reins))
    await load.run(pool, zero, _Reporter(orders, load, reins))
    probe.close()
    talk.cancel()
    await scraper.stop()
    pool.close()
    spool.close()
    notes = [f"metrics endpoint {url}: {why}" for url, why in scraper.failures.items()]
    if not pool.reuse:
        notes.append(
            "the server closes its connection after each answer without saying so: each request "
            "had a connection of its own, opened ahead"
        )
    return Findings(load.counts, load.in_window, zero, probe, load.outage, notes)


async def _opened_pool(orders: Orders, load: Load, tls: ssl.SSLContext | None) -> Pool:
    """Open the connections that the load begins with."""
    where = address(orders.base_url)
    pool = Pool(
        where,
        load,
        keep_spare=orders.concurrency is None,
        connect_s=orders.timeout,
        serve=load.serve,
        alarm=load.alarm if orders.concurrency is None or orders.turns > 1 else None,
        tls=tls if where.tls else None,
        stream=orders.stream,
    )
    slots = len(range(orders.shard, orders.concurrency or 2, orders.shards))
    try:
        await pool.open_ahead(max(1, slots))
    except ssl.SSLCertVerificationError as error:
        raise UnusableError(
            f"the certificate of {where.authority} does not verify: {error.verify_message}"
        ) from None
    return pool


async def _tell_answered(load: Load, reins: Reins) -> None:
    await load.answered.wait()
    reins.answered()


async def _end_when_told(load: Load, reins: Reins) -> None:
    await reins.ended()
    load.end()


class _Reporter:
    """Tells the parent twice a second how far the run is."""

    def __init__(self, orders: Orders, load: Load, reins: Reins) -> None:
        self._orders = orders
        self._load = load
        self._reins = reins
        self._next = 0.0

    def __call__(self) -> None:
        elapsed = self._load.offset()
        if elapsed < self._next:
            return
        self._next = elapsed + _PROGRESS_S
        counts = self._load.counts
        self._reins.tell(
            PROGRESS,
            phase=phase_at(elapsed, self._orders.window),
            elapsed_s=max(0.0, elapsed),
            total_s=self._orders.window[1],
            sent=counts.sent,
            done=counts.done,
            failed=counts.failed,
        )


def write_down(orders: Orders, zero: int) -> list[str]:
    """Write the files of all shards; give the notes for the record."""
    from llmatrix.harness.native import metrics_text, rows  # noqa: PLC0415 - not in the window
    from llmatrix.harness.native.scrape import scraped  # noqa: PLC0415
    from llmatrix.harness.native.spool import in_order  # noqa: PLC0415

    folder = Path(orders.folder)
    spools = [orders.spool(shard) for shard in range(orders.shards)]
    rows.write_requests(folder / "requests.parquet", in_order(spools), zero, streamed=orders.stream)
    complaints: dict[str, str] = {}
    samples = metrics_text.rows(scraped(orders.scrapes), zero, complaints)
    rows.write_server(folder / "server.parquet", samples)
    return list(complaints.values())[-1:]


def run(pipes: Pipes) -> None:
    """Run one shard's part of a workload.

    Raises:
        UnusableError: it cannot be sent at all.
    """
    orders = Orders.from_line(pipes.orders())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    secret = os.environ.get(orders.api_key_env) if orders.api_key_env else None
    traffic = Traffic(orders, secret)
    gc.collect()
    gc.freeze()
    gc.disable()
    findings = uvloop.run(measure(orders, traffic, pipes, secret))
    gc.enable()
    notes = list(findings.notes)
    if findings.counts.resent:
        notes.append(
            f"{findings.counts.resent} requests were sent again: the server had let go of the "
            "connection that they met"
        )
    if reused := traffic.reused(findings.counts.sent * orders.shards):
        notes.append(reused)
    pipes.tell(
        FIGURES,
        notes=notes,
        outage=findings.outage,
        in_window=findings.in_window,
        **findings.probe.figures(),
    )
    if orders.shard == 0:
        pipes.wait(COLLECT)
        pipes.tell(WRITTEN, notes=write_down(orders, findings.zero))


def main() -> int:
    """Run one shard; the exit code is 0 where it was told how it ended."""
    pipes = Pipes()
    try:
        run(pipes)
    except UnusableError as error:
        pipes.tell(FAILURE, message=str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
