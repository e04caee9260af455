"""What successive events of a stream have in common, so that the next one need not be parsed.

From one token to the next, nothing in an event changes but the text. Once an event has been read,
``likeness`` gives the bytes before and after its text, and another event with the same bytes there,
and plain text between them, means the same: a part of the answer, and nothing else. It is proved,
not supposed: the event is read again with another text, and must differ in nothing but that.

From one answer to the next, nothing but the ``id`` changes as well; so ``template`` proves the same
of both at once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
"""ASCII that stands for itself in a JSON string."""
_OTHER: Final = "another text"
_OTHER_ID: Final = "another id"


class Likeness(NamedTuple):
    """The bytes before and after the text of an event's data."""

    before: bytes
    after: bytes


def plain(text: bytes) -> bool:
    """Tell whether bytes stand for themselves in a JSON string."""
    if not text.strip(PLAIN):
        return True
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return False
    return decoded.isprintable() and '"' not in decoded and "\\" not in decoded


def plain_up_to(text: bytes, end: bytes) -> bool:
    """Tell whether bytes are plain text, and some, up to an end that they have."""
    said = text.removesuffix(end)
    return said is not text and bool(said) and plain(said)


def likeness(data: bytes) -> Likeness | None:
    """Find what surrounds the text of an event's data; None where it does more than give text.

    With any plain text between, the data is valid JSON and gives that text as a part of the
    answer; it neither fails nor finishes nor counts tokens. Data of several lines has no likeness.
    """
    if b"\n" in data or b"\r" in data:
        return None
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    place = _place(document)
    if place is None:
        return None
    holder, key = place
    text = holder[key].encode()
    at = data.find(b'"%b"' % text) + 1
    if not at:
        return None
    before, after = data[:at], data[at + len(text) :]
    try:
        other = orjson.loads(b"%b%b%b" % (before, _OTHER.encode(), after))
    except orjson.JSONDecodeError:
        return None
    holder[key] = _OTHER
    return Likeness(before, after) if other == document else None


class Found(NamedTuple):
    """What differs from answer to answer: what comes before an event's text, its id, its text."""

    before: bytes
    name: bytes
    text: bytes


class Template(NamedTuple):
    """The bytes before, between and after the ``id`` and the text of an event's data."""

    before: bytes
    between: bytes
    after: bytes

    def find(self, data: bytes) -> Found | None:
        """Find id and text of data that differs in nothing else; None for any other data."""
        rest = data.removeprefix(self.before)
        name, between, said = rest.partition(self.between)
        text = said.removesuffix(self.after)
        # No quote is in a plain name, so it ends where ``between`` was found.
        if rest is data or not between or not text or text is said:
            return None
        if (name.strip(PLAIN) and not plain(name)) or (text.strip(PLAIN) and not plain(text)):
            return None
        return Found(data[: len(self.before) + len(name) + len(between)], name, text)


def template(like: Likeness) -> Template | None:
    """Find where the ``id`` stands in events of a likeness; None where it cannot be proved.

    With any plain name there, and any plain text, the data gives that text and does nothing else.
    """
    document = orjson.loads(b"%b%b%b" % (like.before, _OTHER.encode(), like.after))
    name = document.get("id")
    if not isinstance(name, str):
        return None
    before, _, between = like.before.partition(b'"%b"' % name.encode())
    found = Template(before + b'"', b'"' + between, like.after)
    parts = (found.before, _OTHER_ID.encode(), found.between, _OTHER.encode(), found.after)
    try:
        other = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError:
        return None
    document["id"] = _OTHER_ID
    return found if other == document else None


def _place(document: Any) -> tuple[dict[str, Any], str] | None:
    """Find the text of a document that gives text and does nothing else: its object, its key."""
    if not isinstance(document, dict) or document.get("error") or document.get("usage"):
        return None
    choices = document.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return None
    choice = choices[0]
    if document.get("object") == "error" or choice.get("finish_reason"):
        return None
    delta = choice.get("delta")
    holder, key = (choice, "text") if choice.get("text") else (delta, "content")
    if not (isinstance(holder, dict) and isinstance(holder.get(key), str) and holder[key]):
        return None
    return holder, key
