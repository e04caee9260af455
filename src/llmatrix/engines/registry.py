"""The engines by name, imported when they are asked for."""

from __future__ import annotations

from llmatrix.engines.protocol import Engine


def engine(name: str) -> Engine:
    """Give the engine of a name; the schema admits no other names."""
    from llmatrix.engines.local import LocalEngine  # noqa: PLC0415 - only a run needs it

    return {LocalEngine.name: LocalEngine}[name]()
