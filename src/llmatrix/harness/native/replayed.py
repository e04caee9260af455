"""Prompts of recorded traffic: the rows of a dataset, and random ones of a trace's lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from llmatrix.harness.native.forms import Form, Prompt, messages, plain
from llmatrix.harness.native.orders import Recorded
from llmatrix.harness.native.prompts import Vocabulary
from llmatrix.harness.native.schedule import stream
from llmatrix.recorded import DatasetRow, TraceRow

BLOCK: Final = 512
"""Tokens of a block that ``hash_ids`` of a trace name (Mooncake's traces)."""
_BLOCKS_KEPT: Final = 4096

Counter = Callable[[Sequence[str]], list[int]]
"""Counts the tokens of texts."""


class RecordedError(Exception):
    """Recorded traffic cannot be sent; the text says why."""


def content(recorded: Recorded, field: str) -> bytes:
    """Read the file of recorded traffic.

    Raises:
        RecordedError: it is not there, or is not what the experiment was planned with.
    """
    try:
        data = Path(recorded.path).read_bytes()
    except OSError as error:
        raise RecordedError(
            f"workload.{field}: {recorded.path or 'the file'} cannot be read here: {error.strerror}"
        ) from None
    if hashlib.sha256(data).hexdigest() != recorded.sha256:
        raise RecordedError(
            f"workload.{field}: {recorded.path} has changed since the trial was planned; run again"
        )
    return data


class DatasetPrompts:
    """The prompts of a dataset, in an order that the seed shuffles.

    Request ``n`` sends row ``n`` of that order; beyond its end the order begins again, in which
    case a prompt comes a second time.

    Args:
        rows: of the dataset.
        form: chat carries every message; text only the one of a row that has one.
        seed: of the order.
        output_len: for rows that do not say how long their answer is; None to count the recorded
            answer.
        count: counts tokens; None where nothing is known of the tokenizer.

    Raises:
        RecordedError: a row's answer has no length, or needs chat.
    """

    def __init__(
        self,
        rows: Sequence[DatasetRow],
        form: Form,
        *,
        seed: int,
        chat: bool,
        output_len: int | None,
        count: Counter | None,
    ) -> None:
        self.rows = list(rows)
        self._form = form
        self._chat = chat
        stream(seed, "dataset").shuffle(self.rows)
        self._asked: list[int | None] = [None] * len(rows)
        if count is not None:
            self._asked = list(count([row.text for row in self.rows]))
        self._answered = [self._output(row, output_len) for row in self.rows]
        uncounted = [at for at, tokens in enumerate(self._answered) if not tokens]
        if uncounted and count is not None:
            counted = count([self.rows[at].answer or "" for at in uncounted])
            for at, tokens in zip(uncounted, counted, strict=True):
                self._answered[at] = max(1, tokens)
        if uncounted and count is None:
            raise RecordedError(
                f"workload.dataset: line {self.rows[uncounted[0]].line} has no output_len; set "
                "workload.output_len, or model.tokenizer to count the recorded answers"
            )

    def _output(self, row: DatasetRow, default: int | None) -> int:
        """Give the length of a row's answer; 0 where the recorded one is to be counted."""
        if row.output_len is not None:
            return row.output_len
        if default is None and row.answer is None:
            raise RecordedError(
                f"workload.dataset: line {row.line} has no output_len; set workload.output_len"
            )
        return default or 0

    def prompt(self, number: int) -> Prompt:
        """Make the prompt of a request."""
        place = number % len(self.rows)
        row, answered = self.rows[place], self._answered[place]
        if self._chat:
            return Prompt([messages(row.messages)], None, answered)
        pieces = [self._form.before, plain(row.text), self._form.after]
        return Prompt(pieces, self._asked[place], answered)

    def stock(self, number: int) -> int:
        """Make nothing ahead: the rows are in memory already."""
        del number
        return 0


class TracePrompts:
    """Random prompts of the lengths of a trace's rows, its request ``n`` that of row ``n``.

    Where the trace names blocks, those of the same name are the same 512 tokens, so that prompts
    begin alike where the recorded ones did.

    Raises:
        RecordedError: a prompt is shorter than what the tokenizer adds to every prompt.
    """

    def __init__(
        self, rows: Sequence[TraceRow], vocabulary: Vocabulary, form: Form, *, seed: int
    ) -> None:
        shortest = min(row.input_length for row in rows)
        if shortest <= vocabulary.extra:
            raise RecordedError(
                f"workload.trace: the tokenizer adds {vocabulary.extra} tokens to every prompt, "
                f"and one has {shortest} tokens"
            )
        self._rows = rows
        self._vocabulary = vocabulary
        self._form = form
        self._seed = seed
        self._stock: dict[int, bytes] = {}
        self._block = lru_cache(_BLOCKS_KEPT)(self._make_block)

    def prompt(self, number: int) -> Prompt:
        """Make the prompt of a request."""
        row = self._rows[number]
        text = self._stock.pop(number, None) or self._text(number)
        pieces = [self._form.before, text, self._form.after]
        return Prompt(pieces, row.input_length, row.output_length)

    def stock(self, number: int) -> int:
        """Make a prompt ahead."""
        if number >= len(self._rows):
            return 0
        made = self._stock[number] = self._text(number)
        return len(made)

    def _text(self, number: int) -> bytes:
        row = self._rows[number]
        tokens = row.input_length - self._vocabulary.extra
        parts = []
        for block in row.blocks:
            if tokens < BLOCK:
                break
            parts.append(self._block(block))
            tokens -= BLOCK
        if tokens:
            parts.append(self._vocabulary.written(self._seed, ("question", number), tokens))
        return self._vocabulary.between.join(parts)

    def _make_block(self, block: int) -> bytes:
        return self._vocabulary.written(self._seed, ("block", block), BLOCK)


def moments(rows: Sequence[TraceRow], recorded: Recorded) -> Iterator[float]:
    """Give the offsets, in seconds, at which the requests of a trace are due."""
    scale = (1e-3 if recorded.unit == "ms" else 1.0) / recorded.speed
    yield from ((row.at - rows[0].at) * scale for row in rows)
