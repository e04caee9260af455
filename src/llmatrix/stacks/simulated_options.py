"""How the programs of ``llmatrix.sim`` are told what a treatment wants: the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmatrix.spec.experiment import Treatment
from llmatrix.spec.stack_parts import SimulatedEngine
from llmatrix.spec.stacks import SimulatedStack


def section(treatment: Treatment) -> SimulatedStack:
    """Give the stack section of a treatment.

    Raises:
        TypeError: it is of another kind.
    """
    if not isinstance(treatment.stack, SimulatedStack):
        raise TypeError(f"a stack of kind {treatment.stack.kind} is not simulated")
    return treatment.stack


def serve(treatment: Treatment, place: Mapping[str, Any], *, replicas: int) -> list[str]:
    """Give the arguments of ``serve`` for this many of the replicas.

    ``place`` holds the options that say where it runs, by name; None leaves one out.
    """
    stack = section(treatment)
    shape = {"tensor-parallel-size": stack.tensor_parallel, "replicas": replicas}
    return serving(treatment.model.name, stack.accelerator, stack.engine, {**shape, **place})


def serving(
    model: str, accelerator: str, engine: SimulatedEngine, place: Mapping[str, Any]
) -> list[str]:
    """Give the arguments of ``serve`` for an engine; ``place`` holds the options beside those."""
    options = {
        "model": model,
        "accelerator": accelerator,
        **place,
        "max-num-seqs": engine.max_num_seqs,
        "max-num-batched-tokens": engine.max_num_batched_tokens,
        "block-size": engine.block_size,
        "max-model-len": engine.max_model_len,
        "kv-cache-tokens": engine.kv_cache_tokens,
        "startup-seconds": engine.startup,
    }
    flags = [] if engine.enable_prefix_caching else ["--no-enable-prefix-caching"]
    return ["-m", "llmatrix.sim", "serve", *_written(options), *flags]


def route(config: str | None, place: Mapping[str, Any]) -> list[str]:
    """Give the arguments of ``route``; ``config`` is a file, None where requests go at random."""
    return ["-m", "llmatrix.sim", "route", *_written({"config": config or "none", **place})]


def _written(options: Mapping[str, Any]) -> list[str]:
    # With '=', a value that begins with a dash is still a value.
    return [f"--{name}={value}" for name, value in options.items() if value is not None]
