"""One request and its answer: when each part came, and what the events mean."""

from __future__ import annotations

from array import array
from typing import Any, Final

import orjson

from llmatrix.harness.native.schedule import Phase
from llmatrix.harness.native.sse import Event

DETAIL_CHARS: Final = 300
_DONE: Final = b"[DONE]"


class Exchange:
    """A request on its way. Times are monotonic nanoseconds; None means it did not happen.

    Attributes:
        stamps: arrival of each event with content.
        finished: whether the server said that the answer is complete (``[DONE]``, a finish
            reason, or the final usage).
    """

    __slots__ = (
        "cached_tokens",
        "detail",
        "end",
        "error",
        "finished",
        "group",
        "number",
        "output_tokens",
        "phase",
        "prompt_tokens",
        "resent",
        "scheduled",
        "sent",
        "server",
        "slot",
        "stamps",
        "status",
    )

    def __init__(
        self, number: int, phase: Phase, group: int | None, scheduled: int, slot: int | None
    ) -> None:
        self.number = number
        self.phase = phase
        self.group = group
        self.scheduled = scheduled
        self.slot = slot
        self.sent: int | None = None
        self.stamps = array("q")
        self.end: int | None = None
        self.status: int | None = None
        self.server: str | None = None
        self.error: str | None = None
        self.detail: str | None = None
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finished = False
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
            self.finished = True
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
            if has_content(choices[0]):
                self.stamps.append(now)
            if choices[0].get("finish_reason"):
                self.finished = True
        if usage := document.get("usage"):
            self._usage(usage, final=not choices)

    def _usage(self, usage: Any, *, final: bool) -> None:
        """Take the counts; servers may repeat them in every event, so the last ones stand."""
        if not isinstance(usage, dict):
            return
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
        self.output_tokens = _count(usage.get("completion_tokens"), self.output_tokens)
        self.cached_tokens = _count(cached, self.cached_tokens)
        self.finished = self.finished or final


def _count(value: Any, before: int | None) -> int | None:
    """Take a count of tokens if it is one (it fits the column); else keep what was known."""
    valid = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if valid else before


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
