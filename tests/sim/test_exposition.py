from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmatrix.sim.exposition import Histogram, labels, sample


@given(st.text(max_size=20), st.floats(allow_nan=False))
def test_prometheus_reads_back_what_was_written(value: str, figure: float) -> None:
    text = sample("a:b_total", "counter", "About.", [(labels({"x": value}), figure)])
    (family,) = text_string_to_metric_families(text)

    assert [(s.name, s.labels, s.value) for s in family.samples] == [
        ("a:b_total", {"x": value}, figure)
    ]


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram("h", "About.", labels({"m": "x"}), (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    (family,) = text_string_to_metric_families(histogram.render())

    assert {s.labels.get("le", s.name): s.value for s in family.samples} == {
        "0.1": 2,
        "1.0": 3,
        "+Inf": 4,
        "h_sum": 7.65,
        "h_count": 4,
    }
