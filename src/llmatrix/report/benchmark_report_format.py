"""The parts of llm-d's Benchmark Report v0.2.1 that are written here, as models.

The format is that of llm-d-benchmark's published JSON Schema (``br_v0_2_1_json_schema.json``);
a test validates what is written against that file where it is given. Names are the format's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = "0.2.1"
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Statistics(_Part):
    """A distribution; what cannot be told is left out."""

    units: Literal["count", "s", "s/token", "tokens/s", "queries/s", "ms", "ms/token"]
    mean: float
    stddev: float | None = None
    min: float | None = None
    p1: float | None = None
    p5: float | None = None
    p10: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99p9: float | None = None
    max: float | None = None


class RunTime(_Part):
    """When the trial ran."""

    start: datetime
    end: datetime
    duration: str


class Run(_Part):
    """Which trial it is."""

    uid: str
    eid: str
    time: RunTime
    description: str
    keywords: list[str]


class Metadata(_Part):
    """What names a component or the load."""

    schema_version: str = "0.0.1"
    label: str | None = None
    cfg_id: str
    description: str | None = None


class Native(_Part):
    """A configuration as it was written."""

    config: Any


class Parallelism(_Part):
    """How one replica is spread over accelerators."""

    tp: Count = 1
    dp: Count = 1
    dp_local: Count = 1
    workers: Count = 1
    ep: AtLeastOne = 1
    pp: AtLeastOne = 1


class Accelerator(_Part):
    """What one replica holds."""

    model: str
    count: Count
    parallelism: Parallelism


class ModelName(_Part):
    """The served model."""

    name: str


class InferenceEngine(_Part):
    """The model servers."""

    kind: Literal["inference_engine"] = "inference_engine"
    tool: str
    tool_version: str
    role: Literal["replica"] = "replica"
    replicas: AtLeastOne
    model: ModelName
    accelerator: Accelerator


class Generic(_Part):
    """A component of which the format has no model."""

    kind: Literal["generic"] = "generic"
    kind_draft: str
    tool: str
    tool_version: str


class Component(_Part):
    """A part of the stack."""

    metadata: Metadata
    standardized: InferenceEngine | Generic
    native: Native


class SequenceLength(_Part):
    """Tokens of prompts or answers."""

    distribution: Literal["fixed", "other"]
    value: Annotated[float, Field(ge=0)]


class Prefix(_Part):
    """Prefixes that prompts share."""

    prefix_len: SequenceLength
    num_groups: AtLeastOne
    num_users_per_group: AtLeastOne
    num_prefixes: AtLeastOne


class LoadStandardized(_Part):
    """The traffic."""

    tool: str
    tool_version: str
    parallelism: AtLeastOne = 1
    source: Literal["random", "sampled", "unknown"]
    stage: Count = 0
    input_seq_len: SequenceLength
    output_seq_len: SequenceLength | None = None
    prefix: Prefix | None = None
    rate_qps: Annotated[float, Field(gt=0)] | None = None
    concurrency: AtLeastOne | None = None


class Load(_Part):
    """The workload."""

    metadata: Metadata
    standardized: LoadStandardized
    native: Native


class Scenario(_Part):
    """What was measured, and under what."""

    stack: list[Component]
    load: Load


class Requests(_Part):
    """Requests scheduled in the window."""

    total: Count
    failures: Count
    incomplete: Count
    input_length: Statistics | None = None
    output_length: Statistics | None = None


class Latency(_Part):
    """Latencies of the completed requests."""

    time_to_first_token: Statistics | None = None
    time_per_output_token: Statistics | None = None
    inter_token_latency: Statistics | None = None
    request_latency: Statistics | None = None


class Throughput(_Part):
    """What was delivered within the window."""

    input_token_rate: Statistics | None = None
    output_token_rate: Statistics | None = None
    total_token_rate: Statistics | None = None
    request_rate: Statistics | None = None


class Aggregate(_Part):
    """All of the window."""

    requests: Requests
    latency: Latency
    throughput: Throughput


class RequestPerformance(_Part):
    """What clients saw."""

    aggregate: Aggregate


class Observability(_Part):
    """Open to additions by the format: our checks of whether the figures can be trusted."""

    llmatrix: dict[str, Any]


class Results(_Part):
    """What came out."""

    request_performance: RequestPerformance
    observability: Observability


class BenchmarkReport(_Part):
    """One trial."""

    version: Literal["0.2.1"] = "0.2.1"
    run: Run
    scenario: Scenario
    results: Results
