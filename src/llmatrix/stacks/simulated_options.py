"""How the programs of ``llmatrix.sim`` are told what a treatment wants: the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llmatrix.plan.digest import digest
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.injected import Injected, Slow
from llmatrix.spec.stack_parts import SimulatedEngine
from llmatrix.spec.stacks import SimulatedStack

Role = Literal["", "decode", "prefill"]
"""What a replica does; "" is both."""


def section(treatment: Treatment) -> SimulatedStack:
    """Give the stack section of a treatment.

    Raises:
        TypeError: it is of another kind.
    """
    if not isinstance(treatment.stack, SimulatedStack):
        raise TypeError(f"a stack of kind {treatment.stack.kind} is not simulated")
    return treatment.stack


def serve(treatment: Treatment, place: Mapping[str, Any], *, seed: int) -> list[str]:
    """Give the arguments of ``serve`` for all replicas in one process.

    ``place`` holds the options that say where it runs, by name; None leaves one out. ``seed`` is
    of the jitter. Those that prefill are the first, as the program has it.
    """
    stack = section(treatment)
    prefill = stack.prefill_replicas
    shape = {"replicas": stack.replicas + prefill, "prefill-replicas": prefill or None}
    faults = [_fault(each, each.replica + (0 if each.role else prefill)) for each in stack.faults]
    return _served(treatment, {**shape, **place}, faults, seed)


def serve_one(
    treatment: Treatment, place: Mapping[str, Any], role: Role, *, name: str, seed: int
) -> list[str]:
    """Give the arguments of ``serve`` for one replica of a role, in a process of its own.

    ``name`` ends with the number that the replica has among those of its role.
    """
    stack = section(treatment)
    faults = [
        _fault(each, each.replica)
        for each in stack.faults
        if (each.role == "prefill") == (role == "prefill")
    ]
    numbered = {"first-replica": name} if faults or stack.jitter else {}
    shape = {"replicas": 1, "role": role or None}
    # Replicas of both roles count from 0, and shall not draw the same.
    return _served(treatment, {**shape, **place, **numbered}, faults, seed + (role == "prefill"))


def _served(
    treatment: Treatment, place: Mapping[str, Any], faults: Sequence[str], seed: int
) -> list[str]:
    stack = section(treatment)
    varied = {"jitter": stack.jitter, "seed": seed} if stack.jitter else {}
    shape = {"tensor-parallel-size": stack.tensor_parallel, **place, **varied}
    flags = ["--faults-when-told", *(f"--fault={each}" for each in faults)] if faults else []
    options = serving(treatment.model.name, stack.accelerator, stack.engine, shape)
    return [*options, *flags]


def seed(trial: Trial) -> int:
    """Give the seed of the jitter: other draws for each deployment, and each repetition of one.

    With ``isolation: fresh`` that is each trial.
    """
    return int(digest(trial.keys[Step.SERVER]), 16) % 2**31


def _fault(fault: Injected, replica: int) -> str:
    """Write a fault as ``serve`` reads it."""
    given = {"replica": replica, "at": fault.at, "for": fault.duration}
    if isinstance(fault, Slow):
        given["factor"] = fault.factor
    told = (f"{name}={value!r}" for name, value in given.items() if value is not None)
    return " ".join([fault.kind, *told])


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
