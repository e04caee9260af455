"""The list of replicas, and their labels, as documents name them: a request's body, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from llmatrix.sim.endpoint import Endpoint

MOST_SERVERS: Final = 4096
_EXAMPLE: Final = '{"servers": ["http://10.1.2.3:8000"]}'


class NotAList(ValueError):
    """A document that names no list of servers; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Which replicas there are.

    Attributes:
        urls: base URLs.
        labels: by base URL; filters look at them.
    """

    urls: tuple[str, ...] = ()
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def endpoints(self) -> list[Endpoint]:
        """Make a new endpoint for each."""
        return [Endpoint.at(url, self.labels.get(url)) for url in self.urls]

    def document(self) -> dict[str, object]:
        """Write it as ``of_document`` reads it."""
        labels = {url: dict(pairs) for url, pairs in self.labels.items() if pairs}
        told: dict[str, object] = {"servers": list(self.urls)}
        return told | {"labels": labels} if labels else told


def read(body: bytes) -> Membership:
    """Read what a request's body names; no servers at all is a list, too.

    Raises:
        NotAList: it is no such document, or one of its servers has no such URL. Nothing shall
            change then: a list is taken whole or not at all.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotAList(f"the body is not JSON: {error}; send {_EXAMPLE}") from None
    if not isinstance(document, dict) or not {"servers"} <= set(document) <= {"servers", "labels"}:
        raise NotAList(
            f"the body must be a JSON object with `servers`, and perhaps `labels`: {_EXAMPLE}"
        )
    return of_document(document)


def of_document(document: Mapping[str, Any]) -> Membership:
    """Take the list from a document that may say other things, too.

    Raises:
        NotAList: there is none in it, or not of such URLs and labels.
    """
    servers, labels = document.get("servers"), document.get("labels") or {}
    if not isinstance(servers, list):
        raise NotAList(f"`servers` must be a list of URLs: {_EXAMPLE}")
    if len(servers) > MOST_SERVERS:
        raise NotAList(f"more than {MOST_SERVERS} servers")
    seen: dict[str, int] = {}
    for number, url in enumerate(servers):
        address = _address(number, url)
        if address in seen:
            raise NotAList(f"servers[{number}] is servers[{seen[address]}] again: '{url}'")
        seen[address] = number
    if not isinstance(labels, dict):
        raise NotAList("`labels` must map each server's URL to its labels")
    for url, pairs in labels.items():
        if url not in servers:
            raise NotAList(f"labels are given for '{url}', which is not among the servers")
        texts = isinstance(pairs, dict) and all(isinstance(text, str) for text in pairs.values())
        if not texts:
            raise NotAList(f"the labels of '{url}' must map text to text")
    return Membership(tuple(servers), labels)


def _address(number: int, url: object) -> str:
    if not isinstance(url, str):
        raise NotAList(f"servers[{number}] is no text; send {_EXAMPLE}")
    try:
        return Endpoint.at(url).address
    except ValueError as error:
        raise NotAList(f"servers[{number}]: {error}") from None
