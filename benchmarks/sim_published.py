"""The simulator against published measurements: (model, accelerator, load) points with sources.

Every row is run on the simulator's virtual clock, with the server's settings of the measurement
where they are told and its defaults where they are not, and compared with what was published.
Rows marked "fit" are those by which the efficiencies in ``llmatrix.sim.presets`` were chosen, by
hand and to two digits; the others tested that choice and changed nothing. Ends with 1 when the
median error of the tests, or the worst, is beyond its limit.

Run: ``.venv/bin/python benchmarks/sim_published.py [--fast]`` (about a minute of CPU time; with
``--fast`` vLLM's rows only, a few seconds).
"""

from __future__ import annotations

import statistics
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llmatrix.sim.latency import kv_capacity, step_time
from llmatrix.sim.presets import accelerator, model
from llmatrix.sim.scheduler import Engine, Limits, Sequence
from llmatrix.sim.virtual import closed_loop

MEDIAN_LIMIT = 0.20
WORST_LIMIT = 0.45
"""Guards against getting worse, set when the figures were 15% and 37%."""
ROUNDS = 3
"""How often a batch is filled where a measurement was long enough to be steady."""


@dataclass(frozen=True)
class Source:
    """Where figures stand, and what served them."""

    key: str
    engine: str
    address: str
    what: str


@dataclass(frozen=True)
class Row:
    """One published point.

    Attributes:
        requests: how many came; 0 for as many as fill the batch three times.
        concurrency: of a closed loop; 0 when all came at once.
        published: ``tok/s`` (output tokens), ``seconds`` (of the whole run), mean ``tpot_ms`` and
            ``ttft_ms``.
        fit: whether the efficiencies were chosen by it.
    """

    source: Source
    accelerator: str
    model: str
    prompt: int
    answer: int
    published: Mapping[str, float]
    requests: int = 0
    concurrency: int = 0
    tensor_parallel: int = 1
    limits: Limits = field(default_factory=Limits)
    fit: bool = False


# Defaults of `vllm serve` from v0.8 on: vllm/engine/arg_utils.py, by device memory and name.
H100_LIMITS = Limits(max_num_seqs=1024, max_num_batched_tokens=8192)
A100_LIMITS = Limits(max_num_seqs=256, max_num_batched_tokens=2048)
LAB = "https://github.com/gpustack/gpustack/blob"
GPUSTACK_14B_H100 = Source(
    "a",
    "vLLM 0.11.0",
    f"{LAB}/7ae332aaf05783e657560ef927c527b156e2536d/docs/performance-lab/qwen3-14b/h100.md",
    "GPUStack performance lab, baseline of other cases",
)
GPUSTACK_14B_A100 = Source(
    "b",
    "vLLM 0.11.0",
    f"{LAB}/10e9444a07c73556f2ef0d10d2b2766bbf54c9c0/docs/performance-lab/qwen3-14b/a100.md",
    "the same",
)
GPUSTACK_32B_H100 = Source(
    "c",
    "vLLM 0.11.0",
    f"{LAB}/10e9444a07c73556f2ef0d10d2b2766bbf54c9c0/docs/performance-lab/qwen3-32b/h100.md",
    "the same; the longest answers ended early and are taken as 77 tokens, their mean",
)
GPUSTACK_8B_H100 = Source(
    "d",
    "vLLM 0.11.0",
    f"{LAB}/1dbc3b8130da92d31539404545a1aff5c3992f8c/docs/performance-lab/qwen3-8b/h100-latency.md",
    "the same; ShareGPT, taken as its mean lengths",
)
MUSGRAVE = Source(
    "e",
    "vLLM 0.23.0",
    "https://johnmusgrave.com/p/vllm-throughput-latency-sweep-on",
    "J. Musgrave, sweep on an A100 40 GB: 75 tokens/s alone, 6.6 times as many at 8",
)
TENSTORRENT = Source(
    "f",
    "vLLM, version not told",
    "https://github.com/tenstorrent/tt-inference-server/issues/340",
    "GPU reference of 2025-06-24, A100, its memory not told and taken as 80 GB",
)
NVIDIA = Source(
    "g",
    "TensorRT-LLM 0.17",
    "https://github.com/NVIDIA/TensorRT-LLM/blob/258c7540c03517def55d9a5aadfa9288af474e1b/"
    "docs/source/performance/perf-overview.md",
    "NVIDIA's performance overview, A100-SXM4-80GB in FP16, maximum load",
)
SOURCES = (
    GPUSTACK_14B_H100,
    GPUSTACK_14B_A100,
    GPUSTACK_32B_H100,
    GPUSTACK_8B_H100,
    MUSGRAVE,
    TENSTORRENT,
    NVIDIA,
)

_14B, _32B, _8B = "Qwen/Qwen3-14B", "Qwen/Qwen3-32B", "Qwen/Qwen3-8B"
_LLAMA, _LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
VLLM = (
    Row(
        GPUSTACK_14B_H100, "H100", _14B, 2000, 100,
        {"seconds": 98.91, "tpot_ms": 206.51}, 500, limits=H100_LIMITS, fit=True,
    ),
    Row(
        GPUSTACK_14B_H100, "H100", _14B, 4000, 200,
        {"seconds": 227.57, "tpot_ms": 132.45}, 500, limits=H100_LIMITS, fit=True,
    ),
    Row(
        GPUSTACK_14B_H100, "H100", _14B, 32000, 100,
        {"seconds": 386.80, "tpot_ms": 277.44}, 100, limits=H100_LIMITS,
    ),
    Row(
        GPUSTACK_32B_H100, "H100", _32B, 2000, 100,
        {"seconds": 328.04, "tpot_ms": 86.62}, 500, limits=H100_LIMITS,
    ),
    Row(
        GPUSTACK_32B_H100, "H100", _32B, 4000, 200,
        {"seconds": 976.29, "tpot_ms": 66.61}, 500, limits=H100_LIMITS,
    ),
    Row(
        GPUSTACK_32B_H100, "H100", _32B, 32000, 77,
        {"seconds": 1157.25, "tpot_ms": 43.42}, 100, limits=H100_LIMITS,
    ),
    Row(
        GPUSTACK_8B_H100, "H100", _8B, 233, 221,
        {"seconds": 44.40, "tpot_ms": 7.38, "ttft_ms": 64.0}, 100, 4, limits=H100_LIMITS, fit=True,
    ),
    Row(
        GPUSTACK_14B_A100, "A100-80G", _14B, 2000, 100,
        {"seconds": 175.66, "tpot_ms": 301.73}, 500, limits=A100_LIMITS, fit=True,
    ),
    Row(
        GPUSTACK_14B_A100, "A100-80G", _14B, 4000, 200,
        {"seconds": 407.05, "tpot_ms": 254.61}, 500, limits=A100_LIMITS,
    ),
    Row(
        GPUSTACK_14B_A100, "A100-80G", _14B, 32000, 100,
        {"seconds": 724.56, "tpot_ms": 445.58}, 100, limits=A100_LIMITS,
    ),
    Row(
        MUSGRAVE, "A100-40G", _LLAMA, 1024, 128, {"tok/s": 75.0}, 20, 1,
        limits=A100_LIMITS, fit=True,
    ),
    Row(MUSGRAVE, "A100-40G", _LLAMA, 1024, 128, {"tok/s": 495.0}, 160, 8, limits=A100_LIMITS),
    Row(
        TENSTORRENT, "A100-80G", "Qwen/Qwen3-1.7B", 128, 1024,
        {"tpot_ms": 4.7, "ttft_ms": 14.0}, 4, 1, limits=A100_LIMITS,
    ),
    Row(
        TENSTORRENT, "A100-80G", "Qwen/Qwen3-1.7B", 2048, 128,
        {"tpot_ms": 5.0, "ttft_ms": 30.9}, 4, 1, limits=A100_LIMITS,
    ),
)  # fmt: skip
_LENGTHS = (
    (128, 128), (128, 2048), (500, 2000), (1000, 1000), (2048, 128), (2048, 2048), (5000, 500),
    (20000, 2000),
)  # fmt: skip
_NVIDIA_ROWS = (
    (_LLAMA, 1, (6627.27, 5255.99, 4276.58, 3786.83, 799.61, 2424.16, 825.13, 330.04)),
    (_LLAMA_70B, 4, (2733.48, 2811.27, 2275.79, 1921.77, 325.15, 1393.64, 392.62, 212.08)),
    (_LLAMA_70B, 8, (4717.62, 5241.5, 4445.37, 3320.41, 542.38, 2553.71, 696.34, 413.38)),
)


def tensorrt() -> Iterator[Row]:
    """Give NVIDIA's rows: its engine admits only what fits whole, which bounds the batch here."""
    for name, parallel, figures in _NVIDIA_ROWS:
        capacity = kv_capacity(accelerator("A100-80G"), model(name), parallel)
        for (prompt, answer), figure in zip(_LENGTHS, figures, strict=True):
            batch = min(2048, capacity // (prompt + answer))
            limits = Limits(max_num_seqs=batch, max_num_batched_tokens=8192)
            yield Row(
                NVIDIA, "A100-80G", name, prompt, answer, {"tok/s": figure},
                tensor_parallel=parallel, limits=limits,
                fit=name == _LLAMA and answer >= 2000,
            )  # fmt: skip


def simulate(row: Row) -> dict[str, float]:
    """Run a row on the virtual clock; give every figure that a row may have published."""
    card, served = accelerator(row.accelerator), model(row.model)
    engine = Engine(
        row.limits,
        step_time(card, served, row.tensor_parallel),
        kv_capacity(card, served, row.tensor_parallel),
    )
    requests = row.requests or ROUNDS * row.limits.max_num_seqs
    # Each prompt is of one word of its own, so that none is in the prefix cache.
    prompts = (
        Sequence(array("q", [word]) * row.prompt, row.answer, 0, 0.0) for word in range(requests)
    )
    answers = closed_loop(engine, prompts, row.concurrency or requests)
    seconds = answers[-1].end
    return {
        "seconds": seconds,
        "tok/s": requests * row.answer / seconds,
        "tpot_ms": 1e3 * statistics.fmean(answer.tpot for answer in answers),
        "ttft_ms": 1e3 * statistics.fmean(answer.ttft for answer in answers),
    }


@dataclass(frozen=True)
class Compared:
    """One published figure and the simulator's."""

    row: Row
    name: str
    published: float
    simulated: float

    @property
    def error(self) -> float:
        """How much more the simulator says, as a share of what was published."""
        return self.simulated / self.published - 1

    def __str__(self) -> str:
        row = self.row
        load = "all at once"
        if row.concurrency:
            load = f"{row.concurrency} at a time"
        elif not row.requests:
            load = "maximum"
        cards = row.accelerator + (f" × {row.tensor_parallel}" if row.tensor_parallel > 1 else "")
        use = "fit" if row.fit else "test"
        return (
            f"| {row.model.rpartition('/')[2]} | {cards} | {row.prompt} / {row.answer} | {load} | "
            f"{self.name.replace('_', ' ')} | {self.published:g} | {self.simulated:.4g} | "
            f"{self.error:+.0%} | {use} | {row.source.key} |"
        )


def compare(rows: Iterator[Row] | tuple[Row, ...]) -> Iterator[Compared]:
    """Compare each figure of each row."""
    for row in rows:
        found = simulate(row)
        for name, figure in row.published.items():
            yield Compared(row, name, figure, found[name])


def judged(found: list[Compared]) -> list[float]:
    """Give the sizes of the errors that the limits are for: of tests, without TTFT.

    TTFT under light load is mostly HTTP and tokenizer, of which the simulator has neither.
    """
    return [abs(c.error) for c in found if not c.row.fit and c.name != "ttft_ms"]


def main(arguments: list[str]) -> int:
    """Print the table; tell whether the limits are met."""
    columns = "model, accelerator, in / out, load, figure, published, simulated, error, use, source"
    print(f"| {columns.replace(', ', ' | ')} |")
    print("|---|---|---|---|---|---:|---:|---:|---|---|")
    found = []
    rows = VLLM if "--fast" in arguments else (*VLLM, *tensorrt())
    for one in compare(rows):
        found.append(one)
        print(one, flush=True)
    print()
    for source in SOURCES:
        print(f"- {source.key}: {source.what}; {source.engine}. <{source.address}>")
    errors = judged(found)
    median, worst = statistics.median(errors), max(errors)
    print(
        f"\n{len(errors)} tests of throughput and TPOT: median error {median:.0%} "
        f"(limit {MEDIAN_LIMIT:.0%}), worst {worst:.0%} (limit {WORST_LIMIT:.0%})"
    )
    return int(median > MEDIAN_LIMIT or worst > WORST_LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
