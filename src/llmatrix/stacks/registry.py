"""Which module implements which kind of stack; one is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Final, cast

from llmatrix.stacks.protocol import Stack

_KINDS: Final = {
    "simulated": ("llmatrix.stacks.simulated", "Simulated"),
    "endpoint": ("llmatrix.stacks.endpoint", "Endpoint"),
    "process": ("llmatrix.stacks.process", "Process"),
}
ALL_KINDS: Final = tuple(_KINDS)


def stack(kind: str) -> Stack:
    """Give the stack of this kind.

    Raises:
        KeyError: there is no such kind; the experiment document allows none but ``ALL_KINDS``.
    """
    module, name = _KINDS[kind]
    return cast("Stack", getattr(importlib.import_module(module), name)())
