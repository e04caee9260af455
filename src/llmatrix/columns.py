"""The columns of ``requests.parquet`` and ``server.parquet``: one meaning, for every harness.

Times are milliseconds or seconds as the name says, on the sender's monotonic clock, from the
moment for which the first request of the trial was scheduled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

REQUEST_COLUMNS: Final[dict[str, str]] = {
    "request": "int64",  # number, from which its prompt is made; in an open loop in order
    "phase": "string",  # warmup, window or drain, by the scheduled time
    "group": "int32",  # group of a shared prefix, or session of a conversation; null for neither
    "turn": "int32",  # turn of a conversation, from 0; null where there is none
    "scheduled_s": "float64",  # when it should have been sent (closed loop: when it was free to be)
    "sent_s": "float64",  # when it was handed to the socket; null if never
    "first_token_s": "float64",  # first event with content, at data arrival; null if none
    "last_token_s": "float64",  # last event with content, at data arrival; null if none
    "end_s": "float64",  # when the answer ended, or was given up on
    "ttft_ms": "float64",  # first_token - scheduled
    "ttft_from_send_ms": "float64",  # first_token - sent
    "tpot_ms": "float64",  # (last_token - first_token) / (output_tokens - 1); null below 2 tokens
    "e2e_ms": "float64",  # last_token - scheduled
    "itl_ms": "list<float32>",  # gaps between successive events with content (one per chunk)
    "prompt_tokens_asked": "int32",  # null where nobody could count them
    "prompt_tokens": "int32",  # as the server counted; null if it did not say
    "cached_tokens": "int32",  # prompt tokens served from the prefix cache, as the server says
    "output_tokens_asked": "int32",
    "output_tokens": "int32",  # as the server counted, else events with content
    "chunks": "int32",  # events with content
    "status": "int16",  # HTTP status; null if none came
    "server": "string",  # which replica answered, if a response header tells
    "error": "string",  # class: connect, timeout, http, stream, protocol, aborted; null if none
    "error_detail": "string",  # one line
}

SERVER_COLUMNS: Final[dict[str, str]] = {
    "at_s": "float64",  # when the scrape was answered
    "server": "string",  # host:port of the endpoint
    "metric": "string",  # name as exposed
    "labels": "string",  # the rest of its labels as name="value",...; "" if none
    "value": "float64",
}


def arrow_schema(columns: dict[str, str]) -> pa.Schema:
    """Make the Arrow schema of ``columns``; every column may be null."""
    import pyarrow as pa  # noqa: PLC0415 - costs 0.1 s, not every command writes Parquet

    types = {"list<float32>": pa.list_(pa.float32())}
    return pa.schema([(n, types.get(t) or pa.type_for_alias(t)) for n, t in columns.items()])
