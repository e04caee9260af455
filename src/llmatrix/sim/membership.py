"""The list of replicas as ``POST /servers`` gives it to a router."""

from __future__ import annotations

from typing import Final

import orjson

from llmatrix.sim.endpoint import Endpoint

MOST_SERVERS: Final = 4096
_EXAMPLE: Final = '{"servers": ["http://10.1.2.3:8000"]}'


class NotAList(ValueError):
    """A body that names no list of servers; the text says what is wrong with it."""


def read(body: bytes) -> list[str]:
    """Read the base URLs that a request's body names; none at all is a list, too.

    Raises:
        NotAList: it is no such document, or one of its servers has no such URL. Nothing shall
            change then: a list is taken whole or not at all.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotAList(f"the body is not JSON: {error}; send {_EXAMPLE}") from None
    servers = document.get("servers") if isinstance(document, dict) else None
    if not isinstance(servers, list) or len(document) != 1:
        raise NotAList(f"the body must be a JSON object with `servers` only: {_EXAMPLE}")
    if len(servers) > MOST_SERVERS:
        raise NotAList(f"more than {MOST_SERVERS} servers")
    seen: dict[str, int] = {}
    for number, url in enumerate(servers):
        if not isinstance(url, str):
            raise NotAList(f"servers[{number}] is no text; send {_EXAMPLE}")
        try:
            address = Endpoint.at(url).address
        except ValueError as error:
            raise NotAList(f"servers[{number}]: {error}") from None
        if address in seen:
            raise NotAList(f"servers[{number}] is servers[{seen[address]}] again: '{url}'")
        seen[address] = number
    return list(servers)
