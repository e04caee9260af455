"""A request as the router sees it: what a choice of replicas depends on, and what it taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llmatrix.sim.endpoint import Endpoint

BYTES_PER_TOKEN: Final = 4
"""What the picker takes a token to have where it has no tokenizer."""


@dataclass(slots=True)
class Blocks:
    """The blocks of a prompt, as a prefix scorer has found them.

    Attributes:
        hashes: of the prompt's whole blocks.
        size: bytes of one block.
        matched: blocks that each replica is believed to have.
    """

    hashes: list[int]
    size: int
    matched: Mapping[Endpoint, int] = field(default_factory=dict)


@dataclass(slots=True)
class Incoming:
    """A request, as far as a choice depends on it.

    Attributes:
        prompt: bytes of its prompt or messages.
        headers: names in lower case.
        blocks: by the prefix scorer's name, once that has scored.
    """

    model: str = ""
    prompt: bytes = b""
    salt: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    blocks: dict[str, Blocks] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens that the prompt is taken to have."""
        return len(self.prompt) // BYTES_PER_TOKEN
