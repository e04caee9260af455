"""Whether what a treatment serves fits: weights and a KV cache against the memory that is there.

Only what surely does not fit is refused: activations, graphs and the runtime itself take memory
that is not counted here. Bytes of a token in the cache: keys and values, for each layer and KV
head (vLLM, "Paged Attention"); heads are divided by tensor parallelism, and held twice where there
are fewer heads than accelerators.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmatrix.plan import capacity_figures
from llmatrix.plan.capacity_figures import Figures, Unknown
from llmatrix.sim import presets
from llmatrix.sim.latency import MEMORY_UTILIZATION
from llmatrix.spec.experiment import Model
from llmatrix.spec.llmd import LlmdStack, Plain
from llmatrix.spec.stack_parts import SimulatedEngine
from llmatrix.spec.stacks import SimulatedStack, Stack

VLLM_UTILIZATION: Final = 0.92
"""vLLM's default of ``--gpu-memory-utilization`` (0.9 before v0.17)."""
_GIB: Final = 2**30
_TOKENS: Final = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")
_TIMES: Final = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20}


@dataclass(frozen=True, slots=True)
class Need:
    """What the servers of one role take, and have.

    Attributes:
        about: the servers, in words: ``Qwen/Qwen3-8B on 2 × H100``.
        weights: bytes on each accelerator (or in each pod, on CPUs).
        token: bytes there of one token in the KV cache.
        usable: bytes there for both.
        share: of what there is, in words: ``0.92 of 85.9 GB``.
        holds: tokens that the cache must hold, whatever the workload; None: one request's.
        limit: name of what limits a request's tokens, and that limit.
    """

    about: str
    weights: float
    token: float
    usable: float
    share: str
    holds: int | None = None
    limit: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a model on a stack: what each role needs, or why nobody can tell."""

    needs: tuple[Need, ...] = ()
    unknown: str = ""


def judged(model: Model, stack: Stack) -> Judged:
    """Say what the servers of a stack need; nothing for kinds whose accelerators nobody names."""
    try:
        if isinstance(stack, SimulatedStack):
            shape = stack.accelerator, stack.tensor_parallel
            return Judged((_simulated(model.name, *shape, stack.engine),))
        if isinstance(stack, LlmdStack):
            return Judged(tuple(_llmd(model.name, stack)))
    except (Unknown, presets.UnknownPreset) as error:
        return Judged(unknown=str(error))
    return Judged()


def lacking(needs: tuple[Need, ...], tokens: int) -> str:
    """Say what does not fit of servers that get requests of so many tokens; "" if all may."""
    return next(filter(None, (_lacking(need, tokens) for need in needs)), "")


def _lacking(need: Need, tokens: int) -> str:
    if need.limit is not None and tokens > need.limit[1]:
        name, most = need.limit
        return f"prompt and answer take {tokens:,} tokens, and {name} is {most:,}"
    held = need.holds or tokens
    cache = held * need.token
    if need.weights + cache <= need.usable:
        return ""
    takes = f"{need.weights / 1e9:,.1f} GB of weights"
    if need.weights < need.usable:
        takes += f" and {cache / 1e9:,.1f} GB for {held:,} tokens of KV cache"
    has = f"{need.usable / 1e9:,.1f} GB ({need.share})"
    return f"{need.about}: {takes} on each, and each has {has}"


def _simulated(model: str, accelerator: str, tensor_parallel: int, engine: SimulatedEngine) -> Need:
    """Tell it as the simulator reckons (``sim.latency.kv_capacity``)."""
    device, shape = presets.accelerator(accelerator), presets.model(model)
    return Need(
        about=f"{shape.name} on {tensor_parallel} × {device.name}",
        weights=shape.weight_bytes / tensor_parallel,
        token=shape.kv_bytes_per_token / tensor_parallel,
        usable=device.memory * MEMORY_UTILIZATION,
        share=f"{MEMORY_UTILIZATION:g} of {device.memory / 1e9:.1f} GB",
        holds=None if engine.kv_cache_tokens is None else 1,
    )


def _llmd(model: str, stack: LlmdStack) -> list[Need]:
    server, prefill = stack.server, stack.server.prefill
    if server.simulated:
        widths = [server.tensor_parallel, *([prefill.tensor_parallel] if prefill else [])]
        return [_simulated(model, stack.accelerator, each, server.engine) for each in widths]
    if server.image is None:  # brought by a chart, whose values are not ours to read
        return []
    if server.preset == "llama-cpp":
        return _on_cpus(model, stack)
    shape = server.tensor_parallel, server.pipeline_parallel, server.data_parallel
    needs = [_on_accelerators(model, stack, server.args, shape)]
    if prefill is not None:
        shape = prefill.tensor_parallel, 1, prefill.data_parallel
        args = {**server.args, **prefill.args}
        needs.append(_on_accelerators(model, stack, args, shape, "prefill: "))
    return needs


def _on_accelerators(
    model: str, stack: LlmdStack, args: Mapping[str, Plain], shape: tuple[int, int, int],
    role: str = "",
) -> Need:  # fmt: skip
    given = {name.replace("_", "-"): value for name, value in args.items()}
    figures = capacity_figures.of_vllm(model, stack.server.capacity, given)
    device, memory = capacity_figures.memory(stack.accelerator, stack.server.capacity)
    tensor, pipeline, data = shape
    ranks = tensor * pipeline
    spread = ranks * (data if given.get("enable-expert-parallel") is True else 1)
    whole, experts = 1 - figures.expert_share, figures.expert_share
    weights = figures.weight_bytes * (whole / ranks + experts / spread)
    share = _number(given, "gpu-memory-utilization", VLLM_UTILIZATION)
    if "kv-cache-memory-bytes" in given:  # it then keeps to that, and not to a share
        share = 1.0
    most = _tokens(given.get("max-model-len"))
    return Need(
        about=f"{role}{model} on {ranks * data} × {device}",
        weights=max(weights - _number(given, "cpu-offload-gb", 0.0) * _GIB, 0.0),
        token=_token_bytes(figures, tensor, pipeline),
        usable=memory * share,
        share=f"{share:g} of {memory / 1e9:.1f} GB",
        holds=most,
        limit=None if most is None else ("args.max-model-len", most),
    )


def _on_cpus(model: str, stack: LlmdStack) -> list[Need]:
    """Hold llama.cpp against the memory that its pod asks for; without one nothing is judged."""
    asked = stack.server.resources.get("memory")
    if asked is None:
        return []
    figures = capacity_figures.of_gguf(model, stack.server.capacity, stack.model.path or "")
    memory = capacity_figures.quantity(asked)
    given = {name.replace("_", "-"): value for name, value in stack.server.args.items()}
    context = _tokens(given.get("ctx-size")) or None  # 0: as the model has
    return [
        Need(
            about=f"{model} in a pod that asks for {asked} of memory",
            weights=figures.weight_bytes,
            token=_token_bytes(figures, 1, 1),
            usable=memory,
            share="resources.memory",
            holds=context,
            limit=None if context is None else ("args.ctx-size", context),
        )
    ]


def _token_bytes(figures: Figures, tensor: int, pipeline: int) -> float:
    heads = math.ceil(figures.kv_heads / tensor)
    return 2 * figures.layers / pipeline * heads * figures.head_dim * figures.kv_bytes


def _number(args: Mapping[str, Plain], name: str, default: float) -> float:
    try:
        return float(args.get(name, default))
    except ValueError:
        return default


def _tokens(value: Plain | None) -> int | None:
    """Read a number of tokens as vLLM writes it (``32768``, ``32k``); None for ``auto``."""
    match = _TOKENS.fullmatch(str(value))
    return None if match is None else int(float(match[1]) * _TIMES[match[2]])
