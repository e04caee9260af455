"""The measuring process: orders as a line on standard input, progress as lines on the output.

It ends when standard input does, which is when its parent dies, however it dies.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.bodies import Bodies, address
from llmatrix.harness.native.load import Counts, Load
from llmatrix.harness.native.orders import FAILURE, MEASURED, PROGRESS, Orders
from llmatrix.harness.native.pool import Pool
from llmatrix.harness.native.probe import Probe
from llmatrix.harness.native.prompts import Prompts, Vocabulary, token_ids, words
from llmatrix.harness.native.schedule import phase_at
from llmatrix.harness.native.scrape import Scrape, Scraper

_STOCK_CLOSED: Final = 100_000
_STOCK_S: Final = 30.0
_STOCK_CLOSED_S: Final = 0.3
_PROGRESS_S: Final = 0.5
_LEAD_NS: Final = 5_000_000


class UnusableError(Exception):
    """What was asked for cannot be sent; ends the run with a failure of the user's class."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a run found, before it is written down."""

    exchanges: Sequence[Exchange]
    counts: Counts
    scrapes: Sequence[Scrape]
    zero: int
    started_at: float
    probe: Probe
    outage: str | None
    notes: list[str]


def tell(kind: str, **fields: Any) -> None:
    """Write one line to the parent."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps({"kind": kind, **fields}).encode() + b"\n")


def end_with_parent() -> None:
    """Wait for the end of standard input, and end this process at once."""
    while os.read(0, 4096):
        pass
    os._exit(3)


def vocabulary(orders: Orders) -> Vocabulary:
    """Choose what prompts are made of.

    Raises:
        UnusableError: a tokenizer is needed and cannot be used.
    """
    if orders.prompt == "token-ids":
        return token_ids(orders.vocab_size)
    if orders.tokenizer == "words":
        return words(orders.vocab_size)
    if orders.tokenizer is None:
        raise UnusableError(
            "workload.prompt: text needs model.tokenizer: a folder with tokenizer.json, or 'words' "
            "for a simulated server"
        )
    from llmatrix.harness.native.tokenized import (  # noqa: PLC0415 - needs a tokenizer library
        TokenizerError,
        tokenizer_words,
    )

    try:
        return tokenizer_words(Path(orders.tokenizer))
    except TokenizerError as error:
        raise UnusableError(str(error)) from None


def make_bodies(orders: Orders, api_key: str | None) -> Bodies:
    """Write the requests of warm-up and window ahead (of a closed loop, 0.3 seconds' worth).

    Raises:
        UnusableError: the prompts cannot be made.
    """
    try:
        prompts = Prompts(
            vocabulary(orders),
            seed=orders.seed,
            question_len=orders.question_len,
            prefix_len=orders.prefix_len,
            groups=orders.groups,
        )
    except ValueError as error:
        raise UnusableError(str(error)) from None
    bodies = Bodies(orders, prompts, api_key)
    if orders.rate is None:
        bodies.stock(_STOCK_CLOSED, _STOCK_CLOSED_S)
    else:
        expected = orders.pace.expected(orders.window[1])
        bodies.stock(round(expected + 4 * orders.gap_cv * expected**0.5) + 1, _STOCK_S)
    return bodies


def tls_context(orders: Orders) -> ssl.SSLContext | None:
    """Make the context in which certificates are verified, where anything speaks TLS."""
    urls = (orders.base_url, *orders.metrics_urls)
    return ssl.create_default_context() if any(u.startswith("https:") for u in urls) else None


async def measure(orders: Orders, bodies: Bodies) -> Findings:
    """Send the workload.

    Raises:
        UnusableError: the server's certificate does not verify.
    """
    tls = tls_context(orders)
    where = address(orders.base_url)
    load = Load(orders, bodies)
    pool = Pool(
        where,
        load,
        keep_spare=orders.concurrency is None,
        connect_s=orders.timeout,
        serve=load.serve,
        tls=tls if where.tls else None,
    )
    try:
        await pool.open_ahead(orders.concurrency or 2)
    except ssl.SSLCertVerificationError as error:
        raise UnusableError(
            f"the certificate of {where.authority} does not verify: {error.verify_message}"
        ) from None
    scraper = Scraper(orders.metrics_urls, tls)
    probe = Probe(lambda: pool.opened)
    zero = time.monotonic_ns() + _LEAD_NS
    started_at = time.time() + _LEAD_NS / 1e9
    start, end = orders.window
    probe.watch(zero + round(start * 1e9), zero + round(end * 1e9))
    scraper.start()
    await load.run(pool, zero, _Reporter(orders, load))
    await scraper.stop()
    pool.close()
    notes = [f"metrics endpoint {url}: {why}" for url, why in scraper.failures.items()]
    if not pool.reuse:
        notes.append(
            "the server closes its connection after each answer without saying so: each request "
            "had a connection of its own, opened ahead"
        )
    return Findings(
        load.exchanges, load.counts, scraper.scrapes, zero, started_at, probe, load.outage, notes
    )


class _Reporter:
    """Tells the parent twice a second how far the run is."""

    def __init__(self, orders: Orders, load: Load) -> None:
        self._orders = orders
        self._load = load
        self._next = 0.0

    def __call__(self) -> None:
        elapsed = self._load.offset()
        if elapsed < self._next:
            return
        self._next = elapsed + _PROGRESS_S
        counts = self._load.counts
        tell(
            PROGRESS,
            phase=phase_at(elapsed, self._orders.window),
            elapsed_s=max(0.0, elapsed),
            total_s=self._orders.window[1],
            sent=counts.sent,
            done=counts.done,
            failed=counts.failed,
        )


def write_down(findings: Findings, orders: Orders, secret: str | None) -> list[str]:
    """Write the files; give the notes for the record."""
    from llmatrix.harness.native import metrics_text, rows  # noqa: PLC0415 - not in the window

    folder = Path(orders.folder)
    rows.write_requests(
        folder / "requests.parquet", findings.exchanges, orders, findings.zero, secret
    )
    samples, complaint = metrics_text.rows(findings.scrapes, findings.zero)
    rows.write_server(folder / "server.parquet", samples)
    notes = list(findings.notes)
    if complaint:
        notes.append(complaint)
    if findings.counts.resent:
        notes.append(
            f"{findings.counts.resent} requests were sent again: the server had let go of the "
            "connection that they met"
        )
    return notes


def main() -> int:
    """Run one workload; the exit code is 0 where it was told how it ended."""
    orders = Orders.from_line(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    secret = os.environ.get(orders.api_key_env) if orders.api_key_env else None
    try:
        bodies = make_bodies(orders, secret)
        gc.collect()
        gc.freeze()
        gc.disable()
        findings = uvloop.run(measure(orders, bodies))
    except UnusableError as error:
        tell(FAILURE, failure="user", message=str(error))
        return 0
    notes = write_down(findings, orders, secret)
    if findings.outage:
        message = f"the server answered nothing for 5 s: {findings.outage}"
        tell(FAILURE, failure="server", message=message)
        return 0
    tell(
        MEASURED,
        window_s=orders.window,
        started_at=findings.started_at,
        loop_lag_ms_p99=findings.probe.loop_lag_ms_p99,
        client_cpu=findings.probe.client_cpu,
        connections_opened=findings.probe.connections_opened,
        notes=notes,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
