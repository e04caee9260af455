"""The picker's filters: which replicas a request may go to at all."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llmatrix.sim import context_range, label_selector
from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.incoming import Incoming
from llmatrix.sim.label_selector import Requirement
from llmatrix.sim.profiles import Used

ROLE: Final = "llm-d.ai/role"
"""The label that says what a replica does."""
Filter = Callable[[Incoming, Sequence[Endpoint]], list[Endpoint]]


def by_label(label: str, values: Sequence[str], *, without: bool) -> Filter:
    """Keep replicas whose label has one of the values; ``without``: also those without it."""

    def keep(incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        del incoming
        return [
            endpoint
            for endpoint in endpoints
            if endpoint.labels.get(label) in values or (without and label not in endpoint.labels)
        ]

    return keep


def _by_selector(used: Used) -> Filter:
    wanted: list[Requirement] = [
        *used.parameters["matchLabels"],
        *used.parameters["matchExpressions"],
    ]

    def keep(incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        del incoming
        return [e for e in endpoints if label_selector.admits(wanted, e.labels)]

    return keep


def _by_label(used: Used) -> Filter:
    parameters = used.parameters
    return by_label(
        parameters["label"], parameters["validValues"], without=parameters["allowsNoLabel"]
    )


def session_of(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    """Give the replica that a session's header names."""
    return session_token(headers.get(name, b"").decode("latin-1"))


def session_token(token: str) -> str | None:
    """Give the replica that a session's token names; None when it is none."""
    try:
        return base64.b64decode(token, validate=True).decode() if token else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _by_session(used: Used) -> Filter:
    header = used.parameters["headerName"].lower().encode("latin-1", "replace")

    def keep(incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        named = session_of(incoming.headers, header)
        return [e for e in endpoints if e.address == named] or list(endpoints)

    return keep


def _by_context(used: Used) -> Filter:
    label = used.parameters["label"]

    def keep(incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        tokens = incoming.tokens
        return [e for e in endpoints if context_range.admits(e.labels.get(label), tokens)]

    return keep


_EVERY: Final = "encode-prefill-decode"
FILTERS: Final[Mapping[str, Callable[[Used], Filter]]] = {
    "decode-filter": lambda _: by_label(
        ROLE, ("decode", "prefill-decode", "both", _EVERY), without=True
    ),
    "prefill-filter": lambda _: by_label(
        ROLE, ("prefill", "encode-prefill", "prefill-decode", "both", _EVERY), without=False
    ),
    "encode-filter": lambda _: by_label(ROLE, ("encode", "encode-prefill", _EVERY), without=False),
    "by-label": _by_label,
    "by-label-selector": _by_selector,
    "label-selector-filter": _by_selector,
    "session-affinity-filter": _by_session,
    "context-length-aware": _by_context,
}
"""What makes a filter of a declared plugin, by its type; roles are those of llm-d-router v0.9."""
