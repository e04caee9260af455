"""From orders to what is sent: the prompts of a workload, and when each session is due."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmatrix.harness.native.bodies import Bodies
from llmatrix.harness.native.conversations import Conversations
from llmatrix.harness.native.forms import Source, form
from llmatrix.harness.native.orders import Orders, Recorded
from llmatrix.harness.native.prompts import Prompts, Vocabulary, token_ids, words
from llmatrix.harness.native.replayed import (
    Counter,
    DatasetPrompts,
    RecordedError,
    TracePrompts,
    content,
    moments,
)
from llmatrix.harness.native.schedule import arrivals, share
from llmatrix.recorded import TraceRow, read_dataset, read_trace

_STOCK_CLOSED: Final = 100_000
_STOCK_S: Final = 30.0
_STOCK_CLOSED_S: Final = 0.3


class UnusableError(Exception):
    """What was asked for cannot be sent; ends the run with a failure of the user's class."""


class Traffic:
    """The bodies of a workload, made ahead as far as time and memory allow, and its schedule.

    Raises:
        UnusableError: the prompts cannot be made.
    """

    def __init__(self, orders: Orders, api_key: str | None) -> None:
        self._orders = orders
        self._trace: list[TraceRow] = []
        try:
            if orders.trace is not None:
                self._trace = read_trace(content(orders.trace, "trace"))
            source = self._source()
        except (ValueError, RecordedError) as error:
            raise UnusableError(str(error)) from None
        self.bodies = Bodies(orders, source, api_key)
        numbers = (number for number, _ in share(iter(range(_STOCK_CLOSED)), *self._shard))
        if orders.concurrency is None:
            self.bodies.stock(self._expected(), _STOCK_S)
        elif isinstance(source, Prompts):
            self.bodies.stock_whole(numbers, _STOCK_CLOSED_S)
        else:
            self.bodies.stock(numbers, _STOCK_CLOSED_S)

    @property
    def _shard(self) -> tuple[int, int]:
        return self._orders.shard, self._orders.shards

    def due(self) -> Iterator[tuple[int, float]]:
        """Give number and offset, in seconds, of each session that this shard sends."""
        orders = self._orders
        if orders.concurrency is not None:
            return iter(())
        if self._trace and orders.trace is not None:
            return share(moments(self._trace, orders.trace), *self._shard)
        return share(arrivals(orders.pace, orders.gap_cv, orders.seed), *self._shard)

    def _expected(self) -> Iterator[int]:
        """Give the numbers of the requests of warm-up and window, of single turns."""
        end = self._orders.window[1]
        for session, offset in self.due():
            if offset >= end:
                return
            yield session * self._orders.turns

    def reused(self, sent: int) -> str | None:
        """Say so where a dataset was too small for the number of requests."""
        source = self.bodies.source
        if not isinstance(source, DatasetPrompts) or sent <= len(source.rows):
            return None
        return (
            f"workload.dataset has {len(source.rows):,} usable rows and {sent:,} requests were "
            "sent: rows came more than once, so hits in the prefix cache are no wonder"
        )

    def _source(self) -> Source:
        orders = self._orders
        if orders.dataset is not None:
            return self._dataset(orders.dataset)
        vocabulary = _vocabulary(orders)
        shape = form(orders, vocabulary.between)
        if self._trace:
            return TracePrompts(self._trace, vocabulary, shape, seed=orders.seed)
        if orders.turns > 1:
            return Conversations(
                vocabulary,
                shape,
                seed=orders.seed,
                turns=orders.turns,
                question_len=orders.question_len,
                output_len=orders.output_len,
            )
        return Prompts(
            vocabulary,
            shape,
            seed=orders.seed,
            question_len=orders.question_len,
            output_len=orders.output_len,
            prefix_len=orders.prefix_len,
            groups=orders.groups,
        )

    def _dataset(self, recorded: Recorded) -> Source:
        orders = self._orders
        return DatasetPrompts(
            read_dataset(content(recorded, "dataset")),
            form(orders, b""),
            seed=orders.seed,
            chat=orders.api == "chat",
            output_len=orders.output_len or None,
            count=_counter(orders),
        )


def _vocabulary(orders: Orders) -> Vocabulary:
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


def _counter(orders: Orders) -> Counter | None:
    """Choose what counts the tokens of recorded texts; None where there is no tokenizer."""
    if orders.tokenizer is None:
        return None
    if orders.tokenizer == "words":
        return lambda texts: [len(text.split()) for text in texts]
    from llmatrix.harness.native.tokenized import (  # noqa: PLC0415 - needs a tokenizer library
        TokenizerError,
        token_counter,
    )

    try:
        return token_counter(Path(orders.tokenizer))
    except TokenizerError as error:
        raise UnusableError(str(error)) from None
