"""CPU time of reading answers, with neither a server nor a kernel in between.

`.venv/bin/python benchmarks/loadgen/reading.py [--answers 400] [--tokens 100]`

The reads of `truth_server.c`'s answers (an event to a chunk, a chunk to a read) are given to a
connection by hand, once as they are read, and once with every read parsed. Between two turns of
its loop a load generator waits, and others use its core: so each read is also given with cold
caches, after 8 MiB of other memory were read. Prints microseconds: of a read in the middle of an
answer, and of the reads of a whole answer together; each is the median of the answers. Ends with 1
if reading without parsing takes more than half the time of the other, in any of the four.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from unittest.mock import patch

from llmatrix.harness.native.alarm import NEVER, Alarm
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.connection import Connection
from llmatrix.harness.native.reads import Reads

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"cmpl-%d","object":"text_completion","created":1700000000,"model":"truth",'
    b'"choices":[{"index":0,"text":" w%d","logprobs":null,"finish_reason":null}]}\n\n'
)
USAGE = (
    b'data: {"id":"cmpl-%d","object":"text_completion","choices":[],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":%d,"total_tokens":%d}}\n\n'
)
MOST = 0.5


class Transport(asyncio.Transport):
    """Takes what is written, and forgets it."""

    def writelines(self, list_of_data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        raise SystemExit("the connection was closed")


class Owner:
    """Holds each answer to what was sent."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def ended(self, exchange: Exchange) -> None:
        told = (exchange.error, len(exchange.stamps), exchange.output_tokens)
        if told != (None, self._tokens, self._tokens):
            raise SystemExit(f"an answer was misread: {told}, {exchange.detail}")

    def idle(self, connection: Connection) -> None:
        pass

    def lost(self, connection: Connection) -> None:
        pass

    def again(self, exchange: Exchange) -> None:
        pass


def chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def answer(number: int, tokens: int) -> list[bytes]:
    """Give the reads of one answer."""
    reads = [chunk(EVENT % (number, token)) for token in range(tokens)]
    reads[0] = HEAD + reads[0]
    usage = chunk(USAGE % (number, tokens, 100 + tokens))
    reads[-1] += usage + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return reads


def measured(
    loop: asyncio.AbstractEventLoop,
    answers: Sequence[Sequence[bytes]],
    between: Callable[[], object],
) -> tuple[float, float]:
    """Give the microseconds of a read and of an answer."""
    owner = Owner(len(answers[0]))
    connection = Connection(owner, loop, Alarm(loop, kernel=False))
    connection.connection_made(Transport())
    middles: list[float] = []
    wholes: list[float] = []
    for reads in answers:
        connection.send(Exchange(0, "window", 0), NEVER)
        taken: list[int] = []
        for read in reads:
            between()
            begin = time.perf_counter_ns()
            connection.data_received(read)
            taken.append(time.perf_counter_ns() - begin)
        middles.append(median(taken) / 1e3)
        wholes.append(sum(taken) / 1e3)
    return median(middles), median(wholes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()
    others = bytes(8 * 1024 * 1024)
    loop = asyncio.new_event_loop()
    missed = 0
    for name, between, share in (
        ("warm", lambda: None, 1),
        ("cold", lambda: bool(others.count(b"x")), 10),
    ):
        answers = [answer(n, args.tokens) for n in range(max(1, args.answers // share))]
        read, whole = measured(loop, answers, between)
        with patch.object(Reads, "like", new=lambda *_: None):
            parsed_read, parsed_whole = measured(loop, answers, between)
        print(
            f"{name}: a read {read:6.2f} us, parsed {parsed_read:6.2f};"
            f" an answer {whole:7.1f} us, parsed {parsed_whole:7.1f}"
        )
        missed += read > MOST * parsed_read or whole > MOST * parsed_whole
    loop.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
