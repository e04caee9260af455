from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.filtering import FILTERS, ROLE
from llmatrix.sim.incoming import Incoming
from llmatrix.sim.picker_config import load

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def pool_of(*labels: Mapping[str, str]) -> list[Endpoint]:
    return [Endpoint.at(f"http://10.0.0.{n}:80", pairs) for n, pairs in enumerate(labels)]


def kept(plugin: str, pool: list[Endpoint], incoming: Incoming | None = None) -> list[int]:
    """Give the places of the endpoints that a filter keeps."""
    config = load(f"{HEAD}plugins:\n- {plugin}\n")
    (used,) = config.primary.filters
    left = FILTERS[used.type](used)(incoming or Incoming(), pool)
    return [pool.index(endpoint) for endpoint in left]


ROLES = pool_of(
    {ROLE: "prefill"}, {ROLE: "decode"}, {ROLE: "both"}, {}, {ROLE: "encode"}, {ROLE: "odd"}
)


@pytest.mark.parametrize(
    ("plugin", "places"),
    [
        ("type: decode-filter", [1, 2, 3]),
        ("type: prefill-filter", [0, 2]),
        ("type: encode-filter", [4]),
        (f"{{type: by-label, parameters: {{label: {ROLE}, validValues: [odd]}}}}", [5]),
        (f"{{type: by-label, parameters: {{label: {ROLE}, allowsNoLabel: true}}}}", [3]),
        ("type: label-selector-filter", [0, 1, 2, 3, 4, 5]),
        (f"{{type: by-label-selector, parameters: {{matchLabels: {{{ROLE}: odd}}}}}}", [5]),
    ],
)
def test_replicas_are_filtered_by_their_labels(plugin: str, places: list[int]) -> None:
    assert kept(plugin, ROLES) == places


@pytest.mark.parametrize(
    ("expression", "places"),
    [
        ("{key: a, operator: In, values: [x, y]}", [0, 1]),
        ("{key: a, operator: NotIn, values: [x]}", [1, 2]),
        ("{key: a, operator: Exists}", [0, 1]),
        ("{key: a, operator: DoesNotExist}", [2]),
    ],
)
def test_label_selectors_are_kubernetes(expression: str, places: list[int]) -> None:
    pool = pool_of({"a": "x"}, {"a": "y"}, {"b": "x"})
    plugin = f"{{type: label-selector-filter, parameters: {{matchExpressions: [{expression}]}}}}"

    assert kept(plugin, pool) == places


def test_a_session_stays_where_it_was_if_that_is_among_the_replicas() -> None:
    pool = pool_of({}, {})
    plugin = "{type: session-affinity-filter, parameters: {headerName: X-Mine}}"

    def asked(address: str) -> Incoming:
        return Incoming(headers={b"x-mine": base64.b64encode(address.encode())})

    assert kept(plugin, pool, asked(pool[1].address)) == [1]
    assert kept(plugin, pool, asked("10.0.0.9:80")) == [0, 1]
    assert kept(plugin, pool) == [0, 1]


def test_context_lengths_filter_only_when_asked() -> None:
    label = "llm-d.ai/context-length-range"
    pool = pool_of({label: "0-100"}, {label: "101-200"}, {}, {label: "odd"})
    plugin = "{type: context-length-aware, parameters: {enableFiltering: true}}"

    assert kept(plugin, pool, Incoming(prompt=b"x" * 400)) == [0, 2]
    assert load(f"{HEAD}plugins:\n- type: context-length-aware\n").primary.filters == ()
