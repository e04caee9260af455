"""Files of recorded traffic as the document holds them: a hash, facts, and small ones whole.

A resolved document must not carry megabytes, and a trial's id must depend on the content. So a
file is known by its hash; the text of one of at most 16 KiB is kept as well, so that it travels
with a trial to another machine; a larger one is read again, from its path, when it is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo

from llmatrix.errors import Place
from llmatrix.recorded import RowError, read_dataset, read_trace
from llmatrix.spec.base import NamedContent
from llmatrix.spec.files import read_bytes

INLINE_BYTES: Final = 16 * 1024
MAX_RECORDED_BYTES: Final = 1024 * 1024 * 1024


class RowFault(ValueError):
    """A row of a named file is wrong.

    Attributes:
        place: file, as the user named it, and line.
    """

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place
        self.why = why


class RecordedFile(NamedContent):
    """What every file of recorded traffic has."""

    sha256: str
    """Hash of the file, in hexadecimal."""
    rows: int
    """Rows that can be sent."""
    text: str | None = None
    """The file's whole text, if that is at most 16 KiB; else it is read from `path` when sent."""
    path: str = Field(default="", exclude=True)
    """Where it is on this machine, absolute; not part of any key."""

    @property
    def travels(self) -> bool:
        """Whether the document alone is enough to send it, on any machine."""
        return self.text is not None


class DatasetFile(RecordedFile):
    """A dataset of prompts."""

    longest: int
    """Words of its longest prompt."""
    longest_output: int
    """The largest `output_len`, or number of words of an answer, of its rows; 0 if none says."""
    mean_output: float
    """Mean of the same over the rows that say; 0 if none does."""
    counted: bool
    """Whether a row has an answer and no `output_len`, so that the answer must be counted."""
    bare: int | None
    """Line of the first row with neither `output_len` nor an answer."""
    chat: int | None
    """Line of the first row with more than one message."""


class TraceFile(RecordedFile):
    """A trace of arrivals."""

    lasts: float
    """From the first timestamp to the last, in the trace's unit."""
    longest: int
    """Tokens of the longest prompt and its answer together."""
    longest_output: int
    """Tokens of the longest answer."""
    mean_output: float
    """Mean tokens of an answer."""


def read_dataset_file(name: str, folder: Path) -> dict[str, Any]:
    """Take in a dataset that the experiment names; the plain form of a ``DatasetFile``.

    Raises:
        RowFault: one of its rows is wrong.
        ValueError: it cannot be read; the message says why.
    """
    data, plain = _taken_in(name, folder)
    rows = _parsed(name, data, read_dataset)
    said = [
        row.output_len or len((row.answer or "").split())
        for row in rows
        if row.output_len is not None or row.answer is not None
    ]
    counted = any(row.output_len is None and row.answer is not None for row in rows)
    bare = (row.line for row in rows if row.output_len is None and row.answer is None)
    chat = (row.line for row in rows if len(row.messages) > 1)
    return plain | {
        "rows": len(rows),
        "longest": max(len(row.text.split()) for row in rows),
        "longest_output": max(said, default=0),
        "mean_output": sum(said) / len(said) if said else 0.0,
        "counted": counted,
        "bare": next(bare, None),
        "chat": next(chat, None),
    }


def read_trace_file(name: str, folder: Path) -> dict[str, Any]:
    """Take in a trace that the experiment names; the plain form of a ``TraceFile``.

    Raises:
        RowFault: one of its rows is wrong.
        ValueError: it cannot be read; the message says why.
    """
    data, plain = _taken_in(name, folder)
    rows = _parsed(name, data, read_trace)
    return plain | {
        "rows": len(rows),
        "lasts": rows[-1].at - rows[0].at,
        "longest": max(row.input_length + row.output_length for row in rows),
        "longest_output": max(row.output_length for row in rows),
        "mean_output": sum(row.output_length for row in rows) / len(rows),
    }


def _taken_in(name: str, folder: Path) -> tuple[bytes, dict[str, Any]]:
    if not name.strip():
        raise ValueError("names no file; write its path")
    place = (folder / name).resolve()
    try:
        data = read_bytes(place, limit=MAX_RECORDED_BYTES)
    except ValueError as error:
        raise ValueError(f"the file '{name}' {error} (seen from {folder.resolve()})") from None
    plain = {"sha256": hashlib.sha256(data).hexdigest(), "path": str(place), "text": None}
    if len(data) <= INLINE_BYTES:
        try:
            plain["text"] = data.decode()
        except UnicodeDecodeError:
            raise ValueError(f"the file '{name}' is not UTF-8 text") from None
    return data, plain


def _parsed(name: str, data: bytes, read: Callable[[bytes], list[Any]]) -> list[Any]:
    try:
        return read(data)
    except RowError as error:
        raise RowFault(Place(name, error.line), str(error)) from None


def _reader(
    read: Callable[[str, Path], dict[str, Any]],
) -> Callable[[Any, ValidationInfo], Any]:
    def taken_in(value: Any, info: ValidationInfo) -> Any:
        """Turn a file's path into what the document holds of it."""
        if not isinstance(value, str):
            return value
        return read(value, Path((info.context or {}).get("folder", ".")))

    return taken_in


NamedDataset = Annotated[
    DatasetFile, BeforeValidator(_reader(read_dataset_file), json_schema_input_type=str)
]
NamedTrace = Annotated[
    TraceFile, BeforeValidator(_reader(read_trace_file), json_schema_input_type=str)
]
Reader = Callable[[str, Path], dict[str, Any]]
_NOTHING: Final[dict[str, Any]] = {
    "sha256": "",
    "rows": 1,
    "longest": 1,
    "longest_output": 1,
    "mean_output": 1.0,
}
READERS: Final[dict[type[NamedContent], tuple[Reader, dict[str, Any]]]] = {
    DatasetFile: (
        read_dataset_file,
        {**_NOTHING, "counted": False, "bare": None, "chat": None},
    ),
    TraceFile: (read_trace_file, {**_NOTHING, "lasts": 1e12}),
}
"""What takes in the file that stands where the schema has one of these, and what stands in for
one that cannot be read, so that the rest can still be checked."""
