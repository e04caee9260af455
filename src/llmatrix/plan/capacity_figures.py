"""The figures of models and accelerators by which capacity is judged, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmatrix.sim import presets
from llmatrix.spec.llmd import Plain
from llmatrix.spec.llmd_capacity import LlmdCapacity

_QUANTIZED: Final[Mapping[str, float]] = {"fp8": 1.0, "bitsandbytes": 0.5, "experts_int8": 1.0}
"""Bytes of a weight that vLLM quantizes itself as it loads them (vLLM, "Quantization")."""
_TYPES: Final[Mapping[str, float]] = {"float": 4.0, "float32": 4.0}
_KV_WHOLE: Final = {"auto", "bfloat16", "float16", "half"}
_BITS: Final[Mapping[str, float]] = {
    "Q2_K": 3.35,
    "Q3_K_S": 3.50,
    "Q3_K_M": 3.91,
    "Q3_K_L": 4.27,
    "Q4_K_S": 4.58,
    "Q4_K_M": 4.84,
    "Q5_K_S": 5.52,
    "Q5_K_M": 5.68,
    "Q6_K": 6.56,
    "Q4_0": 4.5,
    "Q5_0": 5.5,
    "Q8_0": 8.5,
    "BF16": 16.0,
    "F16": 16.0,
    "F32": 32.0,
}
"""Bits of a weight by the type in a GGUF file's name (llama.cpp, tools/quantize/README.md; of the
plain types, blocks of 32 weights with a scale of 16 bits)."""
_FULL_ATTENTION: Final[Mapping[str, int]] = {"openai/gpt-oss-20b": 12, "openai/gpt-oss-120b": 18}
"""Layers that keep the whole context, of models whose others keep a window of 128 tokens
(``layer_types`` of their config.json)."""
_SCALES: Final[Mapping[str, float]] = {
    "m": 1e-3,
    **{f"{prefix}": 1000.0 ** (power + 1) for power, prefix in enumerate("kMGTPE")},
    **{f"{prefix}i": 1024.0 ** (power + 1) for power, prefix in enumerate("KMGTPE")},
}


class Unknown(LookupError):
    """Nobody can tell what a model takes; the text says what to write."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model takes: bytes of all weights, its attention's shape, bytes of a KV entry.

    ``expert_share`` is the share of the weights that sits in experts.
    """

    weight_bytes: float
    layers: int
    kv_heads: int
    head_dim: int
    kv_bytes: float
    expert_share: float


def of_vllm(model: str, told: LlmdCapacity, args: Mapping[str, Plain]) -> Figures:
    """Give a model's figures as vLLM serves it with these options.

    Raises:
        Unknown: no preset has the model, or nobody knows how it is quantized.
    """
    preset = _preset(model, told)
    per_weight = told.bytes_per_weight
    if per_weight is None and (method := args.get("quantization")) is not None:
        per_weight = _QUANTIZED.get(str(method))
        if per_weight is None:
            raise Unknown(
                f"nobody knows here how many bytes a weight of '{model}' takes by quantization "
                f"{method}; write stack.server.capacity.bytes_per_weight"
            )
    if per_weight is None:
        per_weight = _TYPES.get(str(args.get("dtype", "auto")))
    kind = str(args.get("kv-cache-dtype", "auto"))
    return _figures(preset, told, per_weight, 2.0 if kind in _KV_WHOLE else 1.0)


def of_gguf(model: str, told: LlmdCapacity, path: str) -> Figures:
    """Give the figures of a model in a GGUF file, whose name tells its type.

    Raises:
        Unknown: no preset has the model, or nobody knows how it is quantized.
    """
    preset, per_weight = _preset(model, told), told.bytes_per_weight
    if per_weight is None:
        file = path.rpartition("/")[2].upper()
        kinds = [kind for kind in _BITS if re.search(rf"(?<![A-Z0-9]){kind}(?![A-Z0-9_])", file)]
        if not kinds:
            raise Unknown(
                f"nobody knows here how many bytes a weight of '{model}' takes; write "
                f"stack.server.capacity.bytes_per_weight"
            )
        per_weight = _BITS[kinds[0]] / 8
    return _figures(preset, told, per_weight, 2.0)


def memory(accelerator: str, told: LlmdCapacity) -> tuple[str, int]:
    """Give the name of an accelerator and the bytes of its memory.

    Raises:
        Unknown: neither a preset nor the experiment tells.
    """
    if told.memory is not None:
        return accelerator, told.memory
    try:
        device = presets.accelerator(accelerator)
    except presets.UnknownPreset as error:
        raise Unknown(f"{error} Or write stack.server.capacity.memory") from None
    return device.name, device.memory


def quantity(text: str) -> float:
    """Read an amount as Kubernetes writes it: ``64Gi``, ``500M``, ``100m``."""
    number = text.rstrip("kKMGTPEim")
    return float(number) * _SCALES.get(text[len(number) :], 1.0)


def _preset(model: str, told: LlmdCapacity) -> presets.Model | None:
    """Give what is listed of a model; a size in a name is no figure to judge by."""
    try:
        found = presets.model(model)
    except presets.UnknownPreset:
        found = None
    if found is not None and not found.approximated:
        return found
    if None in (told.parameters, told.layers, told.kv_heads, told.head_dim):
        raise Unknown(
            f"no preset has the model '{model}'; write stack.server.capacity: {{parameters: …, "
            f"layers: …, kv_heads: …, head_dim: …}}"
        )
    return None


def _figures(
    preset: presets.Model | None, told: LlmdCapacity, per_weight: float | None, kv_bytes: float
) -> Figures:
    if preset is None:
        parameters, layers = told.parameters or 0.0, told.layers or 0
        heads, dim = told.kv_heads or 0, told.head_dim or 0
        usual, experts = float(presets.BF16_BYTES), 1.0
    else:
        parameters = told.parameters or preset.parameters
        layers = told.layers or _FULL_ATTENTION.get(preset.name, preset.layers)
        heads, dim = told.kv_heads or preset.kv_heads, told.head_dim or preset.head_dim
        usual, experts = preset.bytes_per_parameter, preset.expert_share
    return Figures(parameters * (per_weight or usual), layers, heads, dim, kv_bytes, experts)
