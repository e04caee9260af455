"""What a replica tells Prometheus, under the names and labels that vLLM uses."""

from __future__ import annotations

from typing import Final

from llmatrix.sim.exposition import Histogram, labels, sample
from llmatrix.sim.scheduler import Engine

# Bounds as in vLLM's v1/metrics/loggers.py.
_FIRST_TOKEN: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_INTER_TOKEN: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
)  # fmt: skip
_REQUEST: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
_LATENESS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0,
)  # fmt: skip


LATE_S: Final = 0.002
"""Later than this, a step counts as late."""


class ServerMetrics:
    """The counters and histograms of one replica.

    Attributes:
        first_token, inter_token: seconds, by the engine's clock.
        lateness: seconds by which the last token of each step left later than the model says: the
            most that the simulator itself adds to a latency measured against it.
    """

    def __init__(self, model: str, engine: Engine) -> None:
        self._engine = engine
        self._running = self._waiting = 0
        self._usage = 0.0
        self._pairs = pairs = labels({"engine": "0", "model_name": model})
        self._finished = {"length": 0, "stop": 0}
        self.first_token = Histogram(
            "vllm:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            pairs,
            _FIRST_TOKEN,
        )
        self.inter_token = Histogram(
            "vllm:inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            pairs,
            _INTER_TOKEN,
        )
        self._request = Histogram(
            "vllm:e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
            pairs,
            _REQUEST,
        )
        self.lateness = Histogram(
            "llmatrix_sim_step_lateness_seconds",
            "How late the last token of each step was sent, against the simulator's own model.",
            pairs,
            _LATENESS,
        )
        self._late_steps = 0
        self._config = self._cache_config()

    def _cache_config(self) -> str:
        limits, pool = self._engine.limits, self._engine.pool
        pairs = labels(
            {
                "block_size": str(limits.block_size),
                "cache_dtype": "auto",
                "enable_prefix_caching": str(limits.enable_prefix_caching),
                "engine": "0",
                "gpu_memory_utilization": "0.9",
                "num_gpu_blocks": str(pool.total),
            }
        )
        about = "Information of the LLMEngine CacheConfig"
        return sample("vllm:cache_config_info", "gauge", about, [(pairs, 1.0)])

    def snapshot(self, waiting: int) -> None:
        """Take the gauges at the end of a step, as vLLM does: they are as old as the last step.

        Args:
            waiting: requests that were left waiting when the step began.
        """
        self._running, self._waiting = len(self._engine.running), waiting
        self._usage = self._engine.pool.usage

    def sent(self, late: float) -> None:
        """Count a step whose last token was sent so many seconds after its time."""
        self.lateness.observe(late)
        self._late_steps += late > LATE_S

    def finished(self, reason: str, seconds: float) -> None:
        """Count an answer that is whole."""
        self._finished[reason] += 1
        self._request.observe(seconds)

    def render(self) -> str:
        """Render all of it."""
        counters, pairs = self._engine.counters, self._pairs
        families = [
            sample(f"vllm:{name}", kind, about, [(pairs, float(value))])
            for name, kind, about, value in (
                ("num_requests_running", "gauge", "Requests in the batch.", self._running),
                ("num_requests_waiting", "gauge", "Requests waiting.", self._waiting),
                ("kv_cache_usage_perc", "gauge", "KV-cache usage, 0 to 1.", self._usage),
                (
                    "prefix_cache_queries_total",
                    "counter",
                    "Prompt tokens looked up in the prefix cache.",
                    counters.prefix_queries,
                ),
                (
                    "prefix_cache_hits_total",
                    "counter",
                    "Prompt tokens found in the prefix cache.",
                    counters.prefix_hits,
                ),
                ("num_preemptions_total", "counter", "Preemptions.", counters.preemptions),
                ("prompt_tokens_total", "counter", "Tokens prefilled.", counters.prompt_tokens),
                (
                    "generation_tokens_total",
                    "counter",
                    "Tokens generated.",
                    counters.generated_tokens,
                ),
            )
        ]
        families.append(
            sample(
                "llmatrix_sim_late_steps_total",
                "counter",
                f"Steps of which the last token was sent more than {LATE_S:g} s late.",
                [(pairs, float(self._late_steps))],
            )
        )
        reasons = {**self._finished, "abort": counters.aborted}
        series = [(f'{pairs},finished_reason="{name}"', float(n)) for name, n in reasons.items()]
        families.append(
            sample("vllm:request_success_total", "counter", "Requests that ended.", series)
        )
        histograms = (self.first_token, self.inter_token, self._request, self.lateness)
        return "".join([*families, *(h.render() for h in histograms), self._config])
