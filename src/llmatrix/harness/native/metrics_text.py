"""Scraped metrics text as rows of ``SERVER_COLUMNS``; read after the window only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from llmatrix.harness.native.scrape import Scrape

KEPT: Final = (
    "vllm:",
    "sglang:",
    "llamacpp:",
    "inference_",  # Gateway API Inference Extension: inference_pool_, inference_extension_, ...
    "llm_d_",
    "llmatrix_sim_",  # of our simulated server: how late its steps were
    "llmatrix_router_endpoint_",  # of our simulated picker: what each server got
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
)
"""Beginnings of the names that are kept; histogram buckets and creation times are not."""
_DROPPED: Final = ("_bucket", "_created")

Row = tuple[float, str, str, str, float]


def rows(scrapes: Iterable[Scrape], zero: int, complaints: dict[str, str]) -> Iterator[Row]:
    """Read every scrape; ``complaints`` gets a sentence by server for text that is no metrics."""
    for scrape in scrapes:
        at = (scrape.at - zero) / 1e9
        try:
            found = [
                (at, scrape.server, sample.name, _labels(sample.labels), float(sample.value))
                for sample in _samples(scrape.text)
            ]
        except (ValueError, KeyError, IndexError) as error:
            complaints[scrape.server] = f"metrics of {scrape.server} could not be read: {error}"
        else:
            yield from found


def _samples(text: bytes) -> Iterator[Any]:
    """Parse only the lines that are kept: of a real server's hundreds, most are buckets."""
    lines = [
        line
        for line in text.decode("utf-8", "replace").splitlines()
        if line.startswith(KEPT) and not _name(line).endswith(_DROPPED)
    ]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        yield from family.samples


def _name(line: str) -> str:
    return line.partition("{")[0].partition(" ")[0]


def _labels(labels: dict[str, str]) -> str:
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for name, value in labels.items()
    }
    return ",".join(f'{name}="{value}"' for name, value in escaped.items())
