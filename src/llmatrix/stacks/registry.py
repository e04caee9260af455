"""Which module implements which kind of stack where; one is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, Literal, cast

from llmatrix.stacks.protocol import Stack

Place = Literal["local", "kubernetes"]
"""What a stack stands on: this machine, or a site on Kubernetes."""

_ENDPOINT: Final = ("llmatrix.stacks.endpoint", "Endpoint")
_KINDS: Final[Mapping[Place, Mapping[str, tuple[str, str]]]] = {
    "local": {
        "simulated": ("llmatrix.stacks.simulated", "Simulated"),
        "endpoint": _ENDPOINT,
        "process": ("llmatrix.stacks.process", "Process"),
    },
    "kubernetes": {
        "simulated": ("llmatrix.stacks.simulated_pods", "SimulatedPods"),
        "endpoint": _ENDPOINT,
        "llm-d": ("llmatrix.stacks.llmd.stack", "Llmd"),
    },
}
KINDS: Final[Mapping[Place, tuple[str, ...]]] = {
    place: tuple(kinds) for place, kinds in _KINDS.items()
}
"""The kinds that can stand in each place."""


def stack(kind: str, on: Place = "local") -> Stack:
    """Give the stack of this kind for a place.

    Raises:
        KeyError: none of this kind can stand there; ``KINDS`` names those that can.
    """
    module, name = _KINDS[on][kind]
    return cast("Stack", getattr(importlib.import_module(module), name)())


def anywhere(kind: str) -> Stack:
    """Give the stack of this kind for whichever place it can stand in: to check and to name it.

    Raises:
        KeyError: there is no such kind.
    """
    return stack(kind, "local" if kind in KINDS["local"] else "kubernetes")
