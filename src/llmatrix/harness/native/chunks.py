"""Chunks of an HTTP/1.1 body (RFC 9112, section 7.1), cut without a parser."""

from __future__ import annotations

from typing import Final

CHUNK_END: Final = b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a body that has no trailers."""
_HEX: Final = b"0123456789abcdefABCDEF"
_DIGITS: Final = 3
"""Digits of a chunk's size; one of more is left to the parser."""


def first_chunk(data: bytes) -> tuple[bytes, bytes] | None:
    """Give the content of the chunk that begins a read, with the line's end after it, and the rest.

    None where no whole chunk does, of less than 4 KiB and without extensions.
    """
    line, _, rest = data.partition(CHUNK_END)
    if not line or len(line) > _DIGITS or line.strip(_HEX):
        return None
    size = int(line, 16)
    chunk = rest[: size + len(CHUNK_END)]
    if len(chunk) != size + len(CHUNK_END) or not chunk.endswith(CHUNK_END):
        return None
    return chunk, rest[len(chunk) :]
