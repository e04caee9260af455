"""The constants stay where published measurements put them (the whole table is a benchmark's)."""

from __future__ import annotations

import statistics

import pytest

from benchmarks import sim_published


@pytest.mark.slow
def test_vllms_published_figures_are_met_within_the_stated_errors() -> None:
    found = list(sim_published.compare(sim_published.VLLM))
    tests = sim_published.judged(found)
    fits = [abs(c.error) for c in found if c.row.fit and c.name != "ttft_ms"]

    assert statistics.median(tests) < 0.10
    assert max(tests) < 0.35
    assert max(fits) < 0.15


def test_every_row_names_a_source_that_is_listed() -> None:
    rows = [*sim_published.VLLM, *sim_published.tensorrt()]

    assert {row.source for row in rows} == set(sim_published.SOURCES)
    assert len({(row.model, row.accelerator) for row in rows}) >= 3
    assert all(source.address.startswith("https://") for source in sim_published.SOURCES)
