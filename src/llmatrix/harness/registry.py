"""Harnesses by name, imported only when asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Final, cast

from llmatrix.errors import UserError
from llmatrix.harness.protocol import Harness

HARNESSES: Final[Mapping[str, str]] = {
    "native": "llmatrix.harness.native.parent:NativeHarness",
}
"""Name of a harness, as in ``workload.harness``, to the class that implements it."""


def harness(name: str) -> Harness:
    """Give the harness called ``name``.

    Raises:
        UserError: there is no such harness; the message names the nearest.
    """
    if name not in HARNESSES:
        near = difflib.get_close_matches(name, HARNESSES, n=1, cutoff=0.4)
        advice = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(HARNESSES)}."
        raise UserError(f"workload.harness: there is no harness '{name}'; {advice}")
    module, _, attribute = HARNESSES[name].partition(":")
    return cast("Harness", getattr(importlib.import_module(module), attribute)())
