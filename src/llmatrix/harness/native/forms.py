"""How a prompt stands in the JSON of a request: as token ids, as text, or as chat messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from llmatrix.harness.native.orders import Orders

_MARK: Final = "PROMPT"


class Prompt(NamedTuple):
    """What one request asks: the JSON of its prompt in pieces, and how long things are.

    ``prompt_tokens`` is None where nobody could count them.
    """

    pieces: list[bytes]
    prompt_tokens: int | None
    output_tokens: int
    group: int | None = None
    turn: int | None = None


class Source(Protocol):
    """Where the prompts of a workload come from."""

    def prompt(self, number: int) -> Prompt:
        """Make the prompt of a request; the same for the same number and seed."""

    def stock(self, number: int) -> int:
        """Make what can be made ahead of a request; tell how many bytes that takes."""


@dataclass(frozen=True, slots=True)
class Form:
    """What stands around written tokens.

    Attributes:
        before, after: around the prompt of one request; a user's message in chat.
        answered, asked: in a conversation, between a question and the answer to it, and between
            an answer and the question after it; where they are equal to what divides tokens, the
            conversation is one text.
    """

    before: bytes
    after: bytes
    answered: bytes
    asked: bytes


def form(orders: Orders, between: bytes) -> Form:
    """Give the form of the prompts; ``between`` divides tokens."""
    if orders.api == "chat":
        user, assistant = b'{"role":"user","content":"', b'{"role":"assistant","content":"'
        return Form(user, b'"}', b'"},' + assistant, b'"},' + user)
    if orders.prompt == "text":
        return Form(b'"', b'"', between, between)
    return Form(b"[", b"]", between, between)


def plain(text: str) -> bytes:
    """Write text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")


def messages(said: Sequence[Mapping[str, str]]) -> bytes:
    """Write messages of a chat, without the brackets of their list."""
    return json.dumps(list(said), ensure_ascii=False)[1:-1].encode("utf-8", "replace")


class Envelope:
    """The JSON of a request around its prompt."""

    def __init__(self, orders: Orders) -> None:
        document: dict[str, Any] = {
            "model": orders.model,
            "ignore_eos": True,
            "temperature": 0,
            "stream": orders.stream,
            **({"stream_options": {"include_usage": True}} if orders.stream else {}),
            **({"messages": [_MARK]} if orders.api == "chat" else {"prompt": _MARK}),
        }
        whole = json.dumps(document, separators=(",", ":"))
        before, _, after = whole.rpartition(f'"{_MARK}"')
        self.before = before.encode()
        self._after = after.removesuffix("}").encode()
        self._tails: dict[int, bytes] = {}

    def after(self, output_tokens: int) -> bytes:
        """Give what follows the prompt, where so many tokens are to be answered."""
        known = self._tails.get(output_tokens)
        if known is None:
            count = b',"max_tokens":%d,"min_tokens":%d}' % (output_tokens, output_tokens)
            known = self._tails[output_tokens] = self._after + count
        return known
