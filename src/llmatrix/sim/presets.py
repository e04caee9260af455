"""Accelerators and models that can be simulated, each with the source of its figures."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

BF16_BYTES: Final = 2


class UnknownPreset(LookupError):
    """An accelerator or model that no preset describes; the text names the nearest ones."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Which shares of an accelerator's peaks a model server reaches.

    Attributes:
        compute: of the arithmetic, in large matrix products.
        weights: of the memory bandwidth, streaming weights.
        kv: of the memory bandwidth, reading KV entries in attention.
        fitted: whether published measurements of this kind of accelerator were used.
    """

    compute: float
    weights: float
    kv: float
    fitted: bool


AMPERE: Final = Efficiency(compute=0.60, weights=0.9, kv=0.7, fitted=True)
HOPPER: Final = Efficiency(compute=0.38, weights=0.9, kv=0.4, fitted=True)
_AS_AMPERE: Final = replace(AMPERE, fitted=False)
_AS_HOPPER: Final = replace(HOPPER, fitted=False)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator, by its data sheet.

    Attributes:
        name: as users write it.
        flops: peak dense bf16 floating-point operations per second.
        bandwidth: peak memory bandwidth in bytes per second.
        memory: bytes of device memory.
        source: where those figures stand.
        efficiency: what of them is reached.
    """

    name: str
    flops: float
    bandwidth: float
    memory: int
    source: str
    efficiency: Efficiency


@dataclass(frozen=True, slots=True)
class Model:
    """One decoder model, by its configuration file.

    Attributes:
        name: as on Hugging Face.
        parameters: all of them.
        active_parameters: those that one token passes through; fewer for a mixture of experts.
        layers, heads, kv_heads, head_dim: the attention's shape.
        source: where the figures stand.
        experts, experts_per_token: of a mixture of experts; 1 and 1 for a dense model.
        bytes_per_parameter: of the weights as they are published.
        approximated: true when the shape was taken from the nearest listed model.
    """

    name: str
    parameters: float
    active_parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    source: str
    experts: int = 1
    experts_per_token: int = 1
    bytes_per_parameter: float = BF16_BYTES
    approximated: bool = False

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        return self.parameters * self.bytes_per_parameter

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token takes in the KV cache (keys and values, bf16)."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BF16_BYTES

    @property
    def expert_share(self) -> float:
        """Share of the weights that sits in experts, from total and active parameters."""
        if self.experts == 1:
            return 0.0
        idle = 1 - self.experts_per_token / self.experts
        return (self.parameters - self.active_parameters) / idle / self.parameters


_NVIDIA: Final = "https://www.nvidia.com/en-us/data-center"
_AMD: Final = "https://www.amd.com/en/products/accelerators/instinct"

_GB: Final = 10**9
_GIB: Final = 2**30

ACCELERATORS: Final = tuple(
    Accelerator(name, flops * 1e12, bandwidth * 1e9, memory, source, efficiency)
    for name, flops, bandwidth, memory, source, efficiency in (
        ("H100", 989.4, 3350, 80 * _GIB, f"{_NVIDIA}/h100/", HOPPER),
        ("H200", 989.4, 4800, 141 * _GIB, f"{_NVIDIA}/h200/", _AS_HOPPER),
        ("B200", 2250, 8000, 180 * _GIB, f"{_NVIDIA}/hgx/", _AS_HOPPER),
        ("A100-80G", 312, 2039, 80 * _GIB, f"{_NVIDIA}/a100/", AMPERE),
        ("A100-40G", 312, 1555, 40 * _GIB, f"{_NVIDIA}/a100/", AMPERE),
        ("A10", 125, 600, 24 * _GB, f"{_NVIDIA}/products/a10-gpu/", _AS_AMPERE),
        ("L40S", 362, 864, 48 * _GB, f"{_NVIDIA}/l40s/", _AS_AMPERE),
        ("L4", 121, 300, 24 * _GB, f"{_NVIDIA}/l4/", _AS_AMPERE),
        ("MI300X", 1307.4, 5300, 192 * _GIB, f"{_AMD}/mi300/mi300x.html", _AS_HOPPER),
        ("MI325X", 1307.4, 6000, 256 * _GIB, f"{_AMD}/mi300/mi325x.html", _AS_HOPPER),
    )
)
"""Dense bf16 figures of the SXM or OAM form where there is one, without sparsity.

Stacked memory comes in powers of two: what data sheets call 80 GB are 80 GiB. Of GDDR6, a sixteenth
goes into error correction, which leaves about as many decimal GB as the sheets say.
"""


def _hub(name: str) -> str:
    return f"https://huggingface.co/{name}/blob/main/config.json"


def _dense(name: str, billions: float, layers: int, heads: int, kv_heads: int, dim: int) -> Model:
    parameters = billions * 1e9
    return Model(name, parameters, parameters, layers, heads, kv_heads, dim, _hub(name))


MODELS: Final = (
    _dense("Qwen/Qwen3-0.6B", 0.596, 28, 16, 8, 128),
    _dense("Qwen/Qwen3-1.7B", 1.72, 28, 16, 8, 128),
    _dense("Qwen/Qwen3-4B", 4.02, 36, 32, 8, 128),
    _dense("Qwen/Qwen3-8B", 8.19, 36, 32, 8, 128),
    _dense("Qwen/Qwen3-14B", 14.77, 40, 40, 8, 128),
    _dense("Qwen/Qwen3-32B", 32.76, 64, 64, 8, 128),
    _dense("meta-llama/Llama-3.2-1B-Instruct", 1.236, 16, 32, 8, 64),
    _dense("meta-llama/Llama-3.2-3B-Instruct", 3.213, 28, 24, 8, 128),
    _dense("meta-llama/Llama-3.1-8B-Instruct", 8.03, 32, 32, 8, 128),
    _dense("meta-llama/Llama-3.1-70B-Instruct", 70.55, 80, 64, 8, 128),
    _dense("meta-llama/Llama-3.3-70B-Instruct", 70.55, 80, 64, 8, 128),
    _dense("mistralai/Mistral-7B-Instruct-v0.3", 7.248, 32, 32, 8, 128),
    replace(
        _dense("Qwen/Qwen3-30B-A3B", 30.53, 48, 32, 4, 128),
        active_parameters=3.35e9,
        experts=128,
        experts_per_token=8,
    ),
    replace(
        _dense("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7, 32, 32, 8, 128),
        active_parameters=12.88e9,
        experts=8,
        experts_per_token=2,
    ),
    # Published in MXFP4; checkpoint sizes are from the model card, arXiv:2508.10925, table 1.
    replace(
        _dense("openai/gpt-oss-20b", 20.91, 24, 64, 8, 64),
        active_parameters=3.61e9,
        experts=32,
        experts_per_token=4,
        bytes_per_parameter=12.8 * 2**30 / 20.91e9,
    ),
    replace(
        _dense("openai/gpt-oss-120b", 116.83, 36, 64, 8, 64),
        active_parameters=5.13e9,
        experts=128,
        experts_per_token=4,
        bytes_per_parameter=60.8 * 2**30 / 116.83e9,
    ),
)
"""Layers, heads and head size from each model's ``config.json``, parameters from its card.

Every layer is taken to attend to the whole context. Half of gpt-oss's layers look at 128 tokens
only, so its long contexts cost too much here.
"""


def accelerator(name: str) -> Accelerator:
    """Find an accelerator by name, whatever its letter case.

    Raises:
        UnknownPreset: no such accelerator; the text names the nearest ones.
    """
    for preset in ACCELERATORS:
        if preset.name.casefold() == name.casefold():
            return preset
    raise UnknownPreset(_unknown("accelerator", name, (preset.name for preset in ACCELERATORS)))


def model(name: str) -> Model:
    """Find a model by name, whatever its letter case, with or without its organisation.

    A model that is not listed but tells its size (``some/Thing-7B``) is approximated: its
    parameters are as named, and its shape is that of the listed dense model nearest in size.

    Raises:
        UnknownPreset: neither listed nor with a size in its name.
    """
    wanted = name.casefold()
    for preset in MODELS:
        full = preset.name.casefold()
        if wanted in (full, full.rpartition("/")[2]):
            return preset
    parameters = _size_in(name)
    if parameters is None:
        detail = _unknown("model", name, (preset.name for preset in MODELS))
        raise UnknownPreset(f"{detail} A name that tells its size, as in 'my-7B', also works.")
    dense = (preset for preset in MODELS if preset.experts == 1)
    near = min(dense, key=lambda preset: abs(math.log(preset.parameters / parameters)))
    return replace(
        near,
        name=name,
        parameters=parameters,
        active_parameters=parameters,
        source=f"size from the name; shape of {near.name}",
        approximated=True,
    )


def _size_in(name: str) -> float | None:
    """Give the parameters that a model's name tells, as in ``-7B`` or ``-350M``."""
    match = re.search(r"(?:^|[-_/.])(\d+(?:\.\d+)?)([bm])(?:$|[-_.])", name, re.IGNORECASE)
    if match is None:
        return None
    size = float(match[1]) * (1e9 if match[2] in "bB" else 1e6)
    return size or None


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    choice = [folded[hit] for hit in near] or sorted(folded.values())
    return f"no preset for {kind} '{name}'; known: {', '.join(choice)}."
