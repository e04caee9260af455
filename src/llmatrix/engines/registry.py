"""The engines by name, imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import Final, cast

from llmatrix.engines.protocol import Engine

_ENGINES: Final = {
    "local": ("llmatrix.engines.local", "LocalEngine"),
    "tekton": ("llmatrix.engines.tekton.engine", "TektonEngine"),
}


def engine(name: str) -> Engine:
    """Give the engine of a name; the schema admits no other names."""
    module, kind = _ENGINES[name]
    return cast("Engine", getattr(importlib.import_module(module), kind)())
