from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmatrix.report import server_series as server_series_module
from llmatrix.report.server_series import SOURCES, server_series
from llmatrix.report.summary import Summary

Summarize = Callable[[Any], Summary]
Scrape = Callable[[Summary], Summary]
PLACES = {source.label: place for place, source in enumerate(SOURCES)}


@pytest.fixture
def scraped(summarize: Summarize, synthetic: Callable[..., Any], scrape: Scrape) -> Summary:
    return scrape(summarize(synthetic(replicates=1, requests=5)))


def test_gauges_rates_and_ratios_are_told_by_server(scraped: Summary) -> None:
    found = server_series(scraped)
    records = scraped.dataset.records
    assert list(found) == sorted(record.trial for record in records)
    for number, record in enumerate(records):
        first, second = found[record.trial]
        assert (first.server, second.server) == ("10.0.0.1:8000", "10.0.0.2:8000")
        assert first.at_s == (0.0, 5.0, 10.0)
        assert first.values[PLACES["Requests running"]] == (number, number + 5.0, number + 10.0)
        assert first.values[PLACES["Output tokens"]] == (None, 100.0, 100.0)
        assert first.values[PLACES["Prefix cache hits"]] == (None, 0.8, 0.8)
        assert PLACES["Requests waiting"] not in first.values


def test_a_torn_file_costs_its_trial_only(scraped: Summary) -> None:
    data = scraped.dataset
    victim = data.records[0].trial
    path = data.store.local(f"{data.experiment}/{victim}/server.parquet")
    path.write_bytes(path.read_bytes()[:-8])
    gone = data.records[1].trial
    data.store.delete(f"{data.experiment}/{gone}/server.parquet")
    assert set(server_series(scraped)) == {r.trial for r in data.records} - {victim, gone}


def test_of_many_trials_one_of_each_treatment_is_read(
    summarize: Summarize,
    synthetic: Callable[..., Any],
    scrape: Scrape,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summary = scrape(summarize(synthetic(replicates=2, requests=5, invalid=lambda n: n == 0)))
    monkeypatch.setattr(server_series_module, "MOST_TRIALS", 11)
    chosen = {treatment.valid[0].trial for treatment in summary.treatments}
    assert set(server_series(summary)) == chosen
    assert len(chosen) == 6


def test_unscraped_trials_have_none(summarize: Summarize, synthetic: Callable[..., Any]) -> None:
    assert server_series(summarize(synthetic(replicates=1, requests=5))) == {}
