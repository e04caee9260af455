"""One request and its answer: when each part came, and what the events mean."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import orjson

from llmatrix.harness.native.forms import Prompt
from llmatrix.harness.native.schedule import Phase
from llmatrix.harness.native.sse import Event

DETAIL_CHARS: Final = 300
MOMENT: Final = "L" if array("L").itemsize == array("q").itemsize else "q"
"""The type code of stamps, 64 bits each; appending to ``L`` takes half the time of ``q``."""
_DONE: Final = b"[DONE]"
_MOST: Final = 2**31 - 1
_NOTHING: Final = Prompt([], None, 0)


class Exchange:
    """A request on its way. Times are monotonic nanoseconds; None means it did not happen.

    Attributes:
        number: what its prompt is made from; one of the whole workload.
        place: how many requests of its shard fell due before it.
        group: of a shared prefix, or the session of a turn; None where there is neither.
        turn: of a conversation, from 0; None where there is none.
        slot: of a closed loop; None in an open one.
        prompt_asked, output_asked: tokens asked for; None where nobody could count them.
        parts: its bytes, in pieces, until it has ended.
        stamps: arrival of each event with content; of an answer that is not streamed, of its end.
        finished: whether the server said that the answer is complete (``[DONE]``, a finish
            reason, or the final usage).
        done: whether ``[DONE]`` came, after which nothing may.
        words: what the answer said, part by part; None unless the next turn repeats it.
    """

    __slots__ = (
        "cached_tokens",
        "detail",
        "done",
        "end",
        "error",
        "finished",
        "group",
        "number",
        "output_asked",
        "output_tokens",
        "parts",
        "phase",
        "place",
        "prompt_asked",
        "prompt_tokens",
        "resent",
        "scheduled",
        "sent",
        "server",
        "slot",
        "stamps",
        "status",
        "turn",
        "words",
    )

    def __init__(
        self,
        number: int,
        phase: Phase,
        scheduled: int,
        *,
        place: int = 0,
        slot: int | None = None,
        asks: Prompt = _NOTHING,
    ) -> None:
        self.number = number
        self.place = place
        self.phase = phase
        self.group = asks.group
        self.turn = asks.turn
        self.scheduled = scheduled
        self.slot = slot
        self.prompt_asked = asks.prompt_tokens
        self.output_asked = asks.output_tokens
        self.parts: Sequence[bytes] = ()
        self.words: list[str] | None = None
        self.sent: int | None = None
        self.stamps = array(MOMENT)
        self.end: int | None = None
        self.status: int | None = None
        self.server: str | None = None
        self.error: str | None = None
        self.detail: str | None = None
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finished = False
        self.done = False
        self.resent = False

    def fail(self, error: str, detail: str) -> None:
        """Note the class of the first failure, and one line about it."""
        if self.error is None:
            self.error = error
            self.detail = one_line(detail)

    def take(self, event: Event, now: int) -> None:
        """Read one event of the answer that arrived at ``now``."""
        data = event.data
        if data == _DONE:
            self.finished = self.done = True
            return
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.fail("stream", f"an event is not JSON: {text(data)}")
            return
        if not isinstance(document, dict):
            self.fail("stream", f"an event is not a JSON object: {text(data)}")
            return
        if event.name == b"error" or document.get("error") or document.get("object") == "error":
            self.fail("stream", error_message(document))
            return
        choices = document.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._part(choices[0], now)
        if usage := document.get("usage"):
            self._usage(usage, final=not choices)

    def _part(self, choice: dict[str, Any], now: int) -> None:
        """Take a part of the answer that arrived at ``now``."""
        if has_content(choice):
            if self.done:
                self.fail("stream", f"content came after [DONE]: {said(choice)}")
                return
            self.stamps.append(now)
            if self.words is not None:
                self.words.append(said(choice))
        if choice.get("finish_reason"):
            self.finished = True

    def take_whole(self, body: bytes, now: int) -> None:
        """Read an answer that is not streamed, whose last byte arrived at ``now``."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            self.fail("protocol", f"the answer is not JSON: {text(body)}")
            return
        choices = document.get("choices") if isinstance(document, dict) else None
        if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
            self.fail("protocol", f"the answer is no completion: {text(body)}")
            return
        if document.get("error"):
            self.fail("http", error_message(document))
            return
        message = choices[0].get("message")
        choice = {**choices[0], "delta": message} if isinstance(message, dict) else choices[0]
        if has_content(choice):
            self.stamps.append(now)
            if self.words is not None:
                self.words.append(said(choice))
        self.finished = True
        self._usage(document.get("usage"), final=True)

    def _usage(self, usage: Any, *, final: bool) -> None:
        """Take the counts; servers may repeat them in every event, so the last ones stand."""
        if not isinstance(usage, dict):
            return
        # A count of tokens is one that fits the column; of another, what was known stays.
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if type(prompt) is int and 0 <= prompt <= _MOST:
            self.prompt_tokens = prompt
        if type(output) is int and 0 <= output <= _MOST:
            self.output_tokens = output
        if (details := usage.get("prompt_tokens_details")) and isinstance(details, dict):
            cached = details.get("cached_tokens")
            if type(cached) is int and 0 <= cached <= _MOST:
                self.cached_tokens = cached
        if final:
            self.finished = True


def has_content(choice: dict[str, Any]) -> bool:
    """Tell whether a choice carries a part of the answer.

    A chunk that only names the role, or is empty, is no content: the first token is not there yet.
    """
    if choice.get("text") or choice.get("token_ids"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and bool(
        delta.get("content")
        or delta.get("reasoning_content")
        or delta.get("reasoning")
        or delta.get("tool_calls")
    )


def said(choice: dict[str, Any]) -> str:
    """Give the text of a part of an answer, as the next turn repeats it: no reasoning."""
    delta = choice.get("delta")
    words = choice.get("text") or (delta.get("content") if isinstance(delta, dict) else "")
    return words if isinstance(words, str) else ""


def error_message(document: dict[str, Any]) -> str:
    """Find the sentence in an error document of the OpenAI form."""
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or document.get("message") or error or document)


def text(data: bytes) -> str:
    """Read bytes as text for a message."""
    return data[: 4 * DETAIL_CHARS].decode("utf-8", "replace")


def one_line(message: str) -> str:
    """Cut a message to one printable line."""
    printable = "".join(c if c.isprintable() else " " for c in message[: 4 * DETAIL_CHARS])
    line = " ".join(printable.split())
    return line if len(line) <= DETAIL_CHARS else line[: DETAIL_CHARS - 1] + "…"
