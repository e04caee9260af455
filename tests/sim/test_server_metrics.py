from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmatrix.sim.scheduler import Engine
from llmatrix.sim.server_metrics import ServerMetrics


def told(metrics: ServerMetrics) -> dict[str, float]:
    """Give every figure that has no bucket and no reason of its own."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.render())
        for sample in family.samples
        if not {"le", "finished_reason"} & set(sample.labels)
    }


def test_steps_that_left_more_than_2_ms_late_are_counted(engine_of: Callable[..., Engine]) -> None:
    metrics = ServerMetrics("m", engine_of())
    for late in (0.0005, 0.0019, 0.0021, 0.3):
        metrics.sent(late)

    found = told(metrics)
    assert found["llmatrix_sim_late_steps_total"] == 2
    assert found["llmatrix_sim_step_lateness_seconds_count"] == 4
    assert found["llmatrix_sim_step_lateness_seconds_sum"] == pytest.approx(0.3045)


@pytest.mark.slow
def test_a_server_counts_every_step(programs: Any, tools: Any) -> None:
    server = programs.serve()
    body = {"model": tools.model, "prompt": "x", "max_tokens": 10}
    assert tools.ask(server.url, "/v1/completions", body).status == 200

    name = "llmatrix_sim_step_lateness_seconds_count"
    tools.until(lambda: tools.metric(server.url, name) == 10)
    assert 0 <= tools.metric(server.url, "llmatrix_sim_late_steps_total") <= 10
