"""The experiment document as typed models (design, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag

from llmatrix.spec.base import NamedTokenizer, Section
from llmatrix.spec.cluster import OBJECT_NAME, Cluster
from llmatrix.spec.stacks import Stack
from llmatrix.spec.units import PositiveDuration
from llmatrix.spec.workloads import Workload

DNS_1123 = r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$"


class Model(Section):
    """The model to serve."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """As the server is asked for it, usually a Hugging Face id."""
    vocab_size: Annotated[int, Field(ge=16)] = 32000
    """Token ids of prompts are drawn below this."""
    tokenizer: NamedTokenizer | None = None
    """Folder with a tokenizer.json, for text prompts; `words` for simulated servers."""


class Replicates(Section):
    """How often everything is repeated: whole deployments, and workloads on each."""

    deployments: PositiveInt = 1
    """Times that every deployment is made anew; the blocks are repeated."""
    workloads: PositiveInt = 1
    """Times that every workload is run on each of them."""


def _replicates_meant(value: Any) -> str:
    return "Replicates" if isinstance(value, (Mapping, Replicates)) else "int"


class Slo(Section):
    """Service-level objectives: the figure of a trial must not exceed its limit."""

    ttft_p50: PositiveDuration | None = None
    """Median of time to first token, from the scheduled time."""
    ttft_p90: PositiveDuration | None = None
    """90th percentile of time to first token, from the scheduled time."""
    ttft_p99: PositiveDuration | None = None
    """99th percentile of time to first token, from the scheduled time."""
    itl_p50: PositiveDuration | None = None
    """Median of inter-token latency."""
    itl_p90: PositiveDuration | None = None
    """90th percentile of inter-token latency."""
    itl_p99: PositiveDuration | None = None
    """99th percentile of inter-token latency."""
    tpot_p50: PositiveDuration | None = None
    """Median of time per output token."""
    tpot_p90: PositiveDuration | None = None
    """90th percentile of time per output token."""
    tpot_p99: PositiveDuration | None = None
    """99th percentile of time per output token."""
    e2e_p50: PositiveDuration | None = None
    """Median of end-to-end latency, from the scheduled time."""
    e2e_p90: PositiveDuration | None = None
    """90th percentile of end-to-end latency, from the scheduled time."""
    e2e_p99: PositiveDuration | None = None
    """99th percentile of end-to-end latency, from the scheduled time."""


class Budget(Section):
    """Limits on what the plan may cost; a plan beyond one is not started."""

    time: PositiveDuration | None = None
    """Wall time of the whole run."""
    accelerator_hours: PositiveFloat | None = None
    """Accelerators held times hours held, over all lanes."""
    cost: PositiveFloat | None = None
    """In the currency of `price_per_accelerator_hour`."""


class Control(Section):
    """Control trials: one treatment of each deployment, repeated to see whether it drifts."""

    every: PositiveInt
    """Trials between two control trials of a deployment; one comes first, and one last."""


class Run(Section):
    """How the trials are carried out; no part of what is measured."""

    engine: Literal["local", "tekton"] = "local"
    """What carries trials through the steps: this machine, or Tekton on a Kubernetes cluster."""
    parallelism: Annotated[PositiveInt, Field(le=256)] = 1
    """Lanes: sites on which trials run side by side."""
    isolation: Literal["reuse", "fresh"] = "reuse"
    """`reuse`: take what stands; `fresh`: every trial on its own site from nothing."""
    retries: Annotated[NonNegativeInt, Field(le=20)] = 2
    """More tries for a trial that failed by what may pass."""
    seed: NonNegativeInt = 0
    """Randomises the order of blocks, routers and workloads."""
    control: Control | None = None
    """Repeat one treatment of each deployment at even intervals; none: only `replicates` repeat."""
    queue: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """Kueue's queue that the PipelineRuns wait in; none: they start at once."""
    cluster: Cluster = Cluster()
    """Where and how on a Kubernetes cluster."""
    budget: Budget = Budget()
    """What the plan may cost."""
    price_per_accelerator_hour: PositiveFloat | None = None
    """Price of one accelerator for one hour, in any currency; the plan then tells a cost."""


class Results(Section):
    """Where records go."""

    store: Annotated[str, Field(min_length=1)] = "results/"
    """A folder, relative to the experiment file."""


class Treatment(Section):
    """What one trial measures, resolved: the base document with one level of each factor."""

    model: Model
    """The model to serve."""
    stack: Stack
    """What serves it."""
    workload: Workload
    """The traffic."""


class Experiment(Section):
    """Everything in the file but the treatments: what does not vary between trials."""

    name: Annotated[str, Field(pattern=DNS_1123)]
    """Names the experiment's folder and objects: lower-case letters, digits, dashes."""
    replicates: Annotated[
        Annotated[PositiveInt, Tag("int")] | Annotated[Replicates, Tag("Replicates")],
        Discriminator(_replicates_meant),
    ] = 1
    """How often everything is repeated; a number alone repeats the workloads."""
    slo: Slo = Slo()
    """Objectives that the report holds every treatment against."""
    run: Run = Run()
    """How the trials are carried out."""
    results: Results = Results()
    """Where records go."""
