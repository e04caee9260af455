"""What a model takes and an accelerator has, where no preset tells or its figures are not yours."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from llmatrix.spec.base import Section
from llmatrix.spec.units import Size


class LlmdCapacity(Section):
    """Figures that the plan judges by whether the servers fit; each wins over its preset's."""

    parameters: PositiveFloat | None = None
    """Weights of the model, all experts counted: `8.03e9`."""
    bytes_per_weight: Annotated[float, Field(gt=0, le=8)] | None = None
    """Bytes of each as it is held in memory: 2 for bf16, 1 for fp8, 0.56 for Q4_K_M."""
    layers: PositiveInt | None = None
    """`num_hidden_layers` of the model's config.json."""
    kv_heads: PositiveInt | None = None
    """`num_key_value_heads` of it."""
    head_dim: PositiveInt | None = None
    """`head_dim` of it, or `hidden_size` / `num_attention_heads`."""
    memory: Size | None = None
    """Memory of one accelerator: `80Gi`."""
