"""Recorded traffic: the rows of a dataset of prompts, and of a trace of arrivals.

Read twice: when the experiment is checked, so that a bad row is told at its line before anything
is started, and by the process that sends them. It imports nothing but the standard library and
orjson, for the sake of the latter.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

ROLES: Final = ("system", "user", "assistant", "tool")
_HUMAN: Final = ("human", "user")
_MACHINE: Final = ("gpt", "assistant", "chatgpt", "bing", "bard")
_MOST_TOKENS: Final = 10_000_000
_SHOWN: Final = 40


class RowError(ValueError):
    """A row cannot be used.

    Attributes:
        line: of the file, from 1.
    """

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One prompt of a dataset.

    Attributes:
        line: of the file, from 1.
        messages: of a chat; a prompt alone is one message of the user.
        output_len: tokens of the answer; None if the row does not say.
        answer: what was answered when the dataset was recorded; None if the row does not say.
    """

    line: int
    messages: tuple[Mapping[str, str], ...]
    output_len: int | None
    answer: str | None

    @property
    def text(self) -> str:
        """Give all that is said to the model."""
        return "\n".join(message["content"] for message in self.messages)


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One arrival of a trace.

    Attributes:
        at: its timestamp, in the unit of the trace.
        input_length, output_length: tokens of prompt and answer.
        blocks: names of the prompt's blocks of 512 tokens, where the trace tells which prompts
            begin alike.
    """

    at: float
    input_length: int
    output_length: int
    blocks: tuple[int, ...] = ()


def read_dataset(data: bytes) -> list[DatasetRow]:
    """Read a dataset: JSON Lines, or one JSON list.

    Each entry has ``prompt`` or ``messages`` (role and content, as in chat), and may have
    ``output_len``; or it has ``conversations`` (the ShareGPT form: ``from`` and ``value``), of
    which the first question that has an answer counts, and entries without one are passed over.
    Messages that the last question's answer follows are cut there.

    Raises:
        RowError: an entry is none of these, or there are none.
    """
    rows = [row for line, entry in _entries(data) if (row := _dataset_row(line, entry))]
    if not rows:
        raise RowError(1, "holds no prompt")
    return rows


def _entries(data: bytes) -> Iterator[tuple[int, Any]]:
    """Give each entry with the line on which it begins."""
    text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        yield from _list_entries(data)
        return
    for line, entry in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if entry.strip():
            try:
                yield line, orjson.loads(entry)
            except orjson.JSONDecodeError as error:
                raise RowError(line, f"is not JSON: {error}") from None


def _list_entries(data: bytes) -> Iterator[tuple[int, Any]]:
    """Give the entries of one JSON list, decoded one by one, to know their lines."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RowError(data.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = text.index("[") + 1
    while True:
        at = _past_space(text, at)
        line, counted = line + text.count("\n", counted, at), at
        if text.startswith("]", at):
            return
        try:
            entry, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise RowError(error.lineno, f"is not JSON: {error.msg}") from None
        except RecursionError:
            raise RowError(line, "is nested too deep") from None
        yield line, entry
        at = _past_space(text, at)
        if text.startswith(",", at):
            at += 1
        elif not text.startswith("]", at):
            raise RowError(text.count("\n", 0, at) + 1, "is not JSON: a comma or ] is missing")


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\r", "\n"} and at < len(text):
        at += 1
    return at


def _dataset_row(line: int, entry: Any) -> DatasetRow | None:
    if not isinstance(entry, dict):
        raise RowError(line, "is not a JSON object")
    if "conversations" in entry:
        return _conversation(line, entry["conversations"])
    output_len = entry.get("output_len")
    if output_len is not None:
        output_len = _count(line, entry, "output_len")
    if "prompt" in entry:
        prompt = entry["prompt"]
        if not isinstance(prompt, str) or not prompt.strip():
            raise RowError(line, f"`prompt` must be text that is not empty, not {_show(prompt)}")
        return DatasetRow(line, ({"role": "user", "content": prompt},), output_len, None)
    if "messages" in entry:
        return _chat(line, entry["messages"], output_len)
    raise RowError(line, "has neither `prompt` nor `messages` nor `conversations`")


def _chat(line: int, said: Any, output_len: int | None) -> DatasetRow:
    if not isinstance(said, list) or not said:
        raise RowError(line, "`messages` must be a list that is not empty")
    for message in said:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            roles = ", ".join(ROLES)
            raise RowError(line, f"each of `messages` needs a `role`: one of {roles}")
        if not isinstance(message.get("content"), str):
            raise RowError(line, "each of `messages` needs `content`, as text")
    asked = [{"role": message["role"], "content": message["content"]} for message in said]
    answer = asked.pop()["content"] if asked[-1]["role"] == "assistant" else None
    if not asked:
        raise RowError(line, "`messages` holds an answer only")
    return DatasetRow(line, tuple(asked), output_len, answer)


def _conversation(line: int, said: Any) -> DatasetRow | None:
    if not isinstance(said, list):
        raise RowError(line, "`conversations` must be a list")
    question = None
    for message in said:
        if not isinstance(message, dict) or not isinstance(message.get("value"), str):
            raise RowError(line, "each of `conversations` needs `from` and `value`, as text")
        if message.get("from") in _HUMAN and message["value"].strip():
            question = message["value"]
        elif question is not None and message.get("from") in _MACHINE and message["value"].strip():
            asked = ({"role": "user", "content": question},)
            return DatasetRow(line, asked, None, message["value"])
    return None


_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": ("timestamp", "Timestamp", "TIMESTAMP"),
    "input_length": ("input_length", "ContextTokens", "Request tokens"),
    "output_length": ("output_length", "GeneratedTokens", "Response tokens"),
}
"""Of our own and Mooncake's, of Azure's, and of BurstGPT's traces."""


def read_trace(data: bytes) -> list[TraceRow]:
    """Read a trace: JSON Lines or CSV with a header.

    Its columns are ``timestamp``, ``input_length`` and ``output_length`` (Azure's and BurstGPT's
    names are known as well); a timestamp is a number, or a date and time. ``hash_ids``, as in
    Mooncake's traces, name the prompt's blocks of 512 tokens. An arrival that nothing was
    generated for is passed over.

    Raises:
        RowError: a row lacks one, or is earlier than the row before, or there are none.
    """
    text = data.removeprefix(b"\xef\xbb\xbf")
    lines = _entries(data) if text.lstrip()[:1] in {b"{", b"["} else _csv(text)
    rows: list[TraceRow] = []
    for line, entry in lines:
        row = _trace_row(line, entry)
        if rows and row.at < rows[-1].at:
            raise RowError(line, "is earlier than the row before; sort the trace by its timestamps")
        if row.output_length:
            rows.append(row)
    if not rows:
        raise RowError(1, "holds no arrival")
    return rows


def _csv(text: bytes) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text.decode("utf-8", "replace"), newline=""))
    try:
        for entry in reader:
            yield reader.line_num, entry
    except csv.Error as error:
        raise RowError(max(1, reader.line_num), f"is not CSV: {error}") from None


def _trace_row(line: int, entry: Any) -> TraceRow:
    if not isinstance(entry, dict):
        raise RowError(line, "is not a JSON object")
    found = {
        name: next((alias for alias in aliases if alias in entry), None)
        for name, aliases in _NAMES.items()
    }
    for name, alias in found.items():
        if alias is None:
            raise RowError(line, f"has no `{name}`")
    blocks = entry.get("hash_ids") or ()
    if not isinstance(blocks, (list, tuple)) or not all(isinstance(b, int) for b in blocks):
        raise RowError(line, "`hash_ids` must be a list of whole numbers")
    return TraceRow(
        _moment(line, entry[found["timestamp"]]),
        _count(line, entry, str(found["input_length"])),
        _count(line, entry, str(found["output_length"]), least=0),
        tuple(blocks),
    )


def _moment(line: int, value: Any) -> float:
    with suppress(TypeError, ValueError, OverflowError):
        if math.isfinite(float(value)):
            return float(value)
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        why = f"the timestamp {_show(value)} is neither a number nor a date and time"
        raise RowError(line, why) from None


def _count(line: int, entry: Mapping[str, Any], name: str, least: int = 1) -> int:
    value = entry[name]
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST_TOKENS:
        most = f"{_MOST_TOKENS:,}"
        raise RowError(
            line, f"`{name}` must be a whole number from {least} to {most}, not {_show(value)}"
        )
    return value


def _show(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=True, default=str)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
