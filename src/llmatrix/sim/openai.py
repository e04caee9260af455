"""OpenAI's completions and chat API: what is asked, and how answers are written."""

from __future__ import annotations

import time
import zlib
from array import array
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import orjson

from llmatrix.sim import tokens
from llmatrix.sim.tokens import WORDS

DEFAULT_MAX_TOKENS: Final = 16
"""Length of a completion that names none, as in OpenAI's and vLLM's API."""
DEFAULT_CHAT_TOKENS: Final = 256
"""Length of a chat answer that names none: it then 'stops' by itself."""
_IDS: Final = count(1)


class BadRequest(Exception):
    """A request that cannot be answered; its text says why, ``status`` how it counts."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants.

    Attributes:
        prompt: token ids.
        finish: the finish reason that its answer will give.
        framed: whether a streamed answer is cut into HTTP chunks.
        salt: prompts of different ``cache_salt`` share no blocks.
    """

    chat: bool
    model: str
    prompt: array[int]
    first_word: int
    max_tokens: int
    finish: str
    stream: bool
    include_usage: bool
    salt: int
    framed: bool = True


def parse(body: bytes, *, chat: bool, model: str, longest: int, framed: bool = True) -> Ask:
    """Read a request for ``model``, whose sequences have at most ``longest`` tokens.

    Raises:
        BadRequest: with status 400 or 404 and a sentence.
    """
    document = _document(body)
    name = document.get("model", model)
    if name != model:
        raise BadRequest(f"The model `{name}` does not exist. This server serves `{model}`.", 404)
    prompt, seed = _messages(document) if chat else _prompt(document.get("prompt"))
    if not prompt:
        raise BadRequest("the prompt is empty")
    limit, finish = _length(document, chat=chat)
    if len(prompt) + limit > longest:
        raise BadRequest(
            f"This model's maximum context length is {longest} tokens. However, you requested "
            f"{len(prompt) + limit} tokens ({len(prompt)} in the prompt, {limit} in the answer)."
        )
    stream = _flag(document, "stream")
    options = document.get("stream_options") or {}
    if not isinstance(options, dict):
        raise BadRequest("`stream_options` must be an object")
    salt = document.get("cache_salt")
    return Ask(
        chat=chat,
        model=model,
        prompt=prompt,
        first_word=seed,
        max_tokens=limit,
        finish=finish,
        stream=stream,
        include_usage=_flag(options, "include_usage"),
        salt=hash(salt) if isinstance(salt, str) else 0,
        framed=framed,
    )


def _document(body: bytes) -> dict[str, Any]:
    """Read the body, and refuse what an answer of plain words cannot give."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    for field in ("n", "best_of"):
        if document.get(field) not in (None, 1):
            raise BadRequest(f"`{field}` other than 1 is not simulated")
    for field in ("echo", "logprobs", "prompt_logprobs", "prompt_embeds"):
        if document.get(field):
            raise BadRequest(f"`{field}` is not simulated")
    return document


def _flag(document: dict[str, Any], field: str) -> bool:
    value = document.get(field)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadRequest(f"`{field}` must be true or false")


def _prompt(prompt: object) -> tuple[array[int], int]:
    """Read ``prompt``: text, token ids, or a list with one of those."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return tokens.of_text(prompt), tokens.first_word(prompt.encode("utf-8", "replace"))
    if not isinstance(prompt, list):
        raise BadRequest("`prompt` must be text, a list of token ids, or a list with one of those")
    if len(prompt) > 1 and isinstance(prompt[0], (str, list)):
        raise BadRequest("more than one prompt in a request is not simulated")
    try:
        ids = tokens.of_ids(prompt)
    except (TypeError, OverflowError):
        raise BadRequest("`prompt` holds something that is no token id") from None
    if ids and min(ids) < 0:
        raise BadRequest("`prompt` holds a negative token id")
    return ids, tokens.first_word(ids.tobytes())


def _messages(document: dict[str, Any]) -> tuple[array[int], int]:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a list of at least one message")
    plain = [_message(message) for message in messages]
    seed = 0
    for role, content in plain:
        seed = zlib.crc32(f"{role}:{content}".encode("utf-8", "replace"), seed)
    return tokens.of_chat(plain), seed % tokens.WORD_COUNT


def _message(message: object) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest("each message must be an object with a `role`")
    content = message.get("content")
    if content is None:
        content = ""
    if isinstance(content, list):
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            raise BadRequest("only text parts of a message's `content` are simulated")
        content = " ".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise BadRequest("a message's `content` must be text or a list of text parts")
    return message["role"], content


def _length(document: dict[str, Any], *, chat: bool) -> tuple[int, str]:
    """Give the answer's length and why it ends; nothing is ever stopped early."""
    asked = document.get("max_completion_tokens") if chat else None
    if asked is None:
        asked = document.get("max_tokens")
    least = document.get("min_tokens")
    for field, value in (("max_tokens", asked), ("min_tokens", least)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise BadRequest(f"`{field}` must be an integer")
    limit, finish = asked, "length"
    if limit is None:
        limit = max(DEFAULT_CHAT_TOKENS if chat else DEFAULT_MAX_TOKENS, least or 0)
        finish = "stop" if chat else "length"
    if limit < 1:
        raise BadRequest(f"`max_tokens` must be at least 1, got {limit}")
    if least is not None and not 0 <= least <= limit:
        raise BadRequest(f"`min_tokens` must be between 0 and `max_tokens` ({limit}), got {least}")
    _flag(document, "ignore_eos")
    return limit, finish


def usage(ask: Ask, cached: int) -> dict[str, Any]:
    """Count an answer's tokens as OpenAI does."""
    return {
        "prompt_tokens": len(ask.prompt),
        "completion_tokens": ask.max_tokens,
        "total_tokens": len(ask.prompt) + ask.max_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


class Answer:
    """Writes one answer; the bytes that all its events share are made once.

    Attributes:
        head, tail: what stands before and after a token's word in its event.
    """

    __slots__ = ("_ask", "_created", "_id", "head", "tail")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._id = f"{'chatcmpl' if ask.chat else 'cmpl'}-sim-{next(_IDS):012x}"
        self._created = int(time.time())
        mark = WORDS[0]
        event = self._event(self._choice({"content": f" {mark}"}, f" {mark}", None))
        # The last one: a model's name may hold the word too.
        self.head, _, self.tail = event.rpartition(mark.encode())

    def _document(self, choices: list[Any], **more: object) -> dict[str, Any]:
        kind = "chat.completion" if self._ask.chat else "text_completion"
        if self._ask.chat and self._ask.stream:
            kind += ".chunk"
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._ask.model,
            "choices": choices,
            **more,
        }

    def _choice(self, delta: dict[str, str], text: str, finish: str | None) -> dict[str, Any]:
        answer = {"delta": delta} if self._ask.chat else {"text": text}
        return {"index": 0, **answer, "logprobs": None, "finish_reason": finish}

    def _event(self, choice: dict[str, Any]) -> bytes:
        return self._framed(b"data: %s\n\n" % orjson.dumps(self._document([choice])))

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data) if self._ask.framed else data

    def opening(self) -> bytes:
        """Write what comes before the first token: in a chat, the event with the role."""
        if not self._ask.chat:
            return b""
        return self._event(self._choice({"role": "assistant", "content": ""}, "", None))

    def closing(self, word: int, cached: int) -> bytes:
        """Write the last token's event and all that follows it."""
        text = f" {WORDS[word]}"
        parts = [self._event(self._choice({"content": text}, text, self._ask.finish))]
        if self._ask.include_usage:
            document = self._document([], usage=usage(self._ask, cached))
            parts.append(self._framed(b"data: %s\n\n" % orjson.dumps(document)))
        parts.append(self._framed(b"data: [DONE]\n\n"))
        if self._ask.framed:
            parts.append(b"0\r\n\r\n")
        return b"".join(parts)

    def whole(self, words: list[int], cached: int) -> bytes:
        """Write an answer that is not streamed."""
        text = "".join(f" {WORDS[word]}" for word in words)
        choice: dict[str, Any] = {"index": 0}
        if self._ask.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": self._ask.finish}
        return orjson.dumps(self._document([choice], usage=usage(self._ask, cached)))
