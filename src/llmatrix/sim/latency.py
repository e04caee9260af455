"""How long one step of a model server takes: a roofline of accelerator and model.

A step is either bound by arithmetic or by memory, whichever takes longer (Williams, Waterman and
Patterson, "Roofline", 2009); to that come fixed costs of launching the step and costs for each
sequence (scheduling, sampling, detokenising). Arithmetic is two operations per active parameter
and token, plus four per layer, query head, head dimension and attended position for attention
(Kaplan et al., arXiv:2001.08361, section 2.1). Memory traffic is the weights, once, and the KV
cache of every sequence that takes part, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from llmatrix.sim.presets import Accelerator, Model

TENSOR_PARALLEL_EFFICIENCY: Final = 0.9
"""What each doubling of tensor parallelism keeps, the rest going into all-reduces; assumed."""
STEP_OVERHEAD_S: Final = 2e-3
"""Seconds that a step costs whatever is in it; assumed."""
SEQUENCE_OVERHEAD_S: Final = 5e-6
"""Seconds that each sequence adds to a step; assumed."""
KV_TRANSFER_BYTES_PER_S: Final = 50e9
"""What each accelerator fetches KV entries with: a 400 Gbit/s port, as in NVIDIA's DGX H100."""
MEMORY_UTILIZATION: Final = 0.9
"""Share of device memory that the server uses, as vLLM's ``--gpu-memory-utilization``."""


class DoesNotFit(ValueError):
    """The model's weights leave no memory for a KV cache."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one step has to do.

    Attributes:
        tokens: tokens computed, prefill and decode.
        attended: positions that those tokens look at, summed over tokens.
        context: tokens whose KV entries are read, summed over sequences.
        sequences: sequences that take part.
    """

    tokens: int
    attended: int
    context: int
    sequences: int


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds for a step; monotone in every field of its load.

    Attributes:
        flops: arithmetic that is reached, operations per second.
        bandwidth, kv_bandwidth: memory traffic that is reached, bytes per second, by weights and by
            KV entries.
        flops_per_token, flops_per_attended: operations.
        shared_bytes: weights that every step reads.
        expert_bytes: weights in experts, of which a step reads those that its tokens hit.
        expert_miss: probability that one token misses one given expert.
        kv_bytes_per_token: bytes.
    """

    flops: float
    bandwidth: float
    kv_bandwidth: float
    flops_per_token: float
    flops_per_attended: float
    shared_bytes: float
    expert_bytes: float
    expert_miss: float
    kv_bytes_per_token: int
    overhead: float = STEP_OVERHEAD_S
    overhead_per_sequence: float = SEQUENCE_OVERHEAD_S

    def __call__(self, load: Load) -> float:
        """Give the seconds that a step with this load takes."""
        compute = (
            load.tokens * self.flops_per_token + load.attended * self.flops_per_attended
        ) / self.flops
        experts = self.expert_bytes and self.expert_bytes * (1 - self.expert_miss**load.tokens)
        weights = (self.shared_bytes + experts) / self.bandwidth
        entries = load.context * self.kv_bytes_per_token / self.kv_bandwidth
        roof = max(compute, weights + entries)
        return self.overhead + load.sequences * self.overhead_per_sequence + roof


def step_time(accelerator: Accelerator, model: Model, tensor_parallel: int) -> StepTime:
    """Describe the steps of one replica that spans ``tensor_parallel`` accelerators."""
    scale = tensor_parallel * TENSOR_PARALLEL_EFFICIENCY ** math.log2(tensor_parallel)
    expert_bytes = model.weight_bytes * model.expert_share
    reached = accelerator.efficiency
    return StepTime(
        flops=accelerator.flops * reached.compute * scale,
        bandwidth=accelerator.bandwidth * reached.weights * scale,
        kv_bandwidth=accelerator.bandwidth * reached.kv * scale,
        flops_per_token=2 * model.active_parameters,
        flops_per_attended=4 * model.layers * model.heads * model.head_dim,
        shared_bytes=model.weight_bytes - expert_bytes,
        expert_bytes=expert_bytes,
        expert_miss=1 - model.experts_per_token / model.experts,
        kv_bytes_per_token=model.kv_bytes_per_token,
    )


def kv_capacity(accelerator: Accelerator, model: Model, tensor_parallel: int) -> int:
    """Count the tokens that the KV cache of one replica holds beside the weights.

    Raises:
        DoesNotFit: the weights leave no room; the text says how many accelerators would.
    """
    usable = accelerator.memory * MEMORY_UTILIZATION
    room = usable * tensor_parallel - model.weight_bytes
    if room < model.kv_bytes_per_token:
        least = math.floor(model.weight_bytes / usable) + 1
        raise DoesNotFit(
            f"{model.name} needs {model.weight_bytes / 1e9:.1f} GB for its weights, but "
            f"{tensor_parallel} x {accelerator.name} has {usable * tensor_parallel / 1e9:.1f} GB "
            f"of usable memory; set the tensor parallel size to at least {least}."
        )
    return int(room // model.kv_bytes_per_token)
