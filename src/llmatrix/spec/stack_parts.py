"""What several kinds of stack are described with: images, environments, the simulated engine."""

from __future__ import annotations

from typing import Literal

from pydantic import AfterValidator, PositiveInt

from llmatrix.spec.base import Section
from llmatrix.spec.units import NonNegativeDuration

Layer = Literal["namespace", "gateway", "router", "model", "server"]
IN_ORDER = AfterValidator(lambda mapping: dict(sorted(mapping.items())))
"""Mappings are held sorted, so that the order in which they are written is in no key."""
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$"
"""A reference to a container image; no space, quote or `$` is in one."""


class SimulatedEngine(Section):
    """The knobs of a simulated model server, named as vLLM names them."""

    max_num_seqs: PositiveInt = 256
    """Most sequences in one batch."""
    max_num_batched_tokens: PositiveInt = 8192
    """Most tokens, prefill and decode, in one step."""
    block_size: PositiveInt = 16
    """Tokens in one KV-cache block."""
    kv_cache_tokens: PositiveInt | None = None
    """Tokens that the KV cache of one replica holds; default: what the accelerator leaves."""
    enable_prefix_caching: bool = True
    """Keep and reuse the blocks of prefixes already seen."""
    max_model_len: PositiveInt = 32768
    """Most tokens of a prompt and its answer together."""
    startup: NonNegativeDuration = 0.0
    """Seconds that a replica takes to become ready, standing for loading weights."""
