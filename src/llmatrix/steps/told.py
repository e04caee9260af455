"""The few figures of a trial that come back as Tekton results, so that ``tkn`` shows them."""

from __future__ import annotations

from typing import Final

from llmatrix.results.record import Failure, Record

METRICS: Final = (
    "ttft_ms_p50",
    "ttft_ms_p99",
    "itl_ms_p50",
    "requests_per_s",
    "output_tokens_per_s",
)
RESULTS: Final = ("trial", "status", "why", *METRICS)
"""Names of the results, in this order; each is there for every trial, "" where it says nothing."""
OUTCOME: Final = "outcome"
"""Result of every step: applied, unchanged, skipped or failed."""
DETAIL: Final = "detail"
"""Result of every step: why, in at most ``LONGEST`` bytes."""
LONGEST: Final = 300
"""Bytes of a text result; Tekton allows 4,096 for all results of a TaskRun together."""


def told(result: Record | Failure) -> dict[str, str]:
    """Give the results of a trial: valid, invalid or failed, why, and its key figures."""
    figures = dict.fromkeys(RESULTS, "")
    figures["trial"] = result.trial
    if isinstance(result, Failure):
        last = result.attempts[-1]
        figures["status"] = "failed"
        figures["why"] = shortened(f"{last.step.value}: {last.message}")
        return figures
    figures["status"] = "valid" if result.valid else "invalid"
    figures["why"] = shortened("; ".join(check.name for check in result.failed_checks))
    for name in METRICS:
        value = result.metrics.get(name)
        figures[name] = "" if value is None else f"{value:.6g}"
    return figures


def shortened(text: str) -> str:
    """Cut a text to one line of at most ``LONGEST`` bytes, whole characters only."""
    line = " ".join(text.split())
    data = line.encode()
    if len(data) <= LONGEST:
        return line
    return data[: LONGEST - 3].decode(errors="ignore") + "…"
