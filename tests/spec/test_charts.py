"""Sections of layers that are brought: what may stand in them, and paths into a chart's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from llmatrix.spec.charts import Rendered
from llmatrix.spec.llmd import LlmdServer, LlmdStack
from llmatrix.spec.paths import find, keys_of
from llmatrix.spec.sections import assign

Load = Callable[..., Any]
Say = Callable[..., list[str]]
VALUES = "stack.router.chart.values"
EXPERIMENT = """\
name: charted
model: {name: m, tokenizer: words}
stack:
  kind: llm-d
  router: ROUTER
  server: SERVER
workload: {kind: random, question_len: 9, output_len: 4, prompt: text, load: {rate: 5}}
matrix: MATRIX
run: {engine: tekton}
"""


def text(router: Any, matrix: Any = None, server: Any = None) -> str:
    parts = {
        "ROUTER": router,
        "SERVER": server or {"simulated": True},
        "MATRIX": matrix or {"workload.output_len": [4, 5]},
    }
    written = EXPERIMENT
    for word, value in parts.items():
        flow = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        written = written.replace(word, flow.strip())
    return written


@pytest.mark.parametrize(
    ("chart", "told"),
    [
        ({"source": "oci://reg/c"}, "version must be pinned unless source is a folder"),
        ({"source": "charts/c", "version": "1.2.3"}, "version must be pinned unless source"),
        ({"source": "oci://reg/c", "version": "^1.2"}, "version: must match"),
        ({"source": "oci://reg/c", "version": "1.2"}, "version: must match"),
        ({"source": "https://reg", "version": "1.2.3"}, "name is needed with the URL"),
        ({"source": "oci://r/c", "name": "c", "version": "1.2.3"}, "name is needed with the URL"),
        ({"source": "git://reg/c", "version": "1.2.3"}, "source must be oci://"),
        ({"source": "https://a:b@reg", "name": "c", "version": "1.2.3"}, "has a password in it"),
        ({"source": "--post-renderer=x"}, "source: must match"),
        ({"source": "c", "vaules": {}}, "did you mean 'values'?"),
        ({"source": "c", "values": [1]}, "must be a mapping"),
    ],
)
def test_a_chart_that_cannot_be_named_so_is_told(say: Say, chart: Any, told: str) -> None:
    (line,) = say(text({"chart": chart}))
    assert line.startswith("e.yaml:5:")
    assert "stack.router.chart" in line
    assert told in line


@pytest.mark.parametrize(
    ("router", "told"),
    [
        ({"chart": {"source": "c"}, "kustomize": "k"}, "takes one of chart, manifests and"),
        ({"chart": {"source": "c"}, "config": {"plugins": []}}, "has config, which is the preset"),
        ({"manifests": ["m.yaml"], "flags": {"v": 1}}, "has flags, which is the preset's; with m"),
        ({"service": "picker"}, "has service or port, which tell of a chart"),
    ],
)
def test_a_layer_is_brought_in_one_way(say: Say, router: Any, told: str) -> None:
    (line,) = say(text(router))
    assert f"stack.router: {told}" in line


def test_a_server_that_is_brought_needs_no_image_and_takes_no_replicas(
    load_text: Load, say: Say
) -> None:
    router: dict[str, Any] = {"config": {"plugins": []}}
    assert load_text(text(router, server={"chart": {"source": "c"}, "startup": "60s"}))
    server = {"chart": {"source": "c"}, "replicas": 2}
    assert "has replicas, which is the preset's" in say(text(router, server=server))[0]


def test_paths_lead_into_values_and_stop_at_what_is_no_key() -> None:
    assert keys_of(f"{VALUES}.router.epp.flags.v")[3:] == ("values", "router", "epp", "flags", "v")
    assert keys_of(rf"{VALUES}.a\.b/c.d")[4:] == ("a.b/c", "d")
    assert keys_of("stack.router.flags.a.b")[2:] == ("flags", "a.b")
    for wrong in (f"{VALUES}.", f"{VALUES}..a", f"{VALUES}.a.", "stack.router.chart.value.a"):
        assert find(wrong) is None, wrong
    assert find("stack.router.rendered") is None


def test_a_level_in_the_values_leaves_what_is_beside_it(load_text: Load) -> None:
    chart = {"source": "c", "values": {"a": {"b": 1, "c": 2}, "d": 3}}
    loaded = load_text(text({"chart": chart}, {f"{VALUES}.a.b": [5, {"x": 1}], f"{VALUES}.e": [7]}))
    levels = {factor.path: factor.levels[-1].value for factor in loaded.factors}
    section = assign(loaded.base["stack"], levels)
    found = LlmdStack.model_validate(section, strict=False).router.chart
    assert found is not None
    assert found.values == {"a": {"b": {"x": 1}, "c": 2}, "d": 3, "e": 7}


def test_levels_that_differ_in_a_value_are_not_the_same(load_text: Load, say: Say) -> None:
    chart = {"source": "c"}
    loaded = load_text(text({"chart": chart}, {f"{VALUES}.a": [1, True, "one"]}))
    assert [level.value for level in loaded.factors[0].levels] == [1, True, "one"]
    told = say(text({"chart": chart}, {"stack.router.chart.source": ["c", "c"]}))
    assert "is given twice" in told[0]


def test_values_are_set_from_the_command_line(load_text: Load) -> None:
    loaded = load_text(text({"chart": {"source": "c"}}), [f"{VALUES}.a.b=5"])
    assert loaded.base["stack"]["router"]["chart"]["values"] == {"a": {"b": 5}}


def test_accelerators_of_a_brought_server_are_those_that_it_renders_to() -> None:
    server = LlmdServer(rendered=Rendered(sha256="0" * 64, accelerators=12, text="[]"))
    stack = LlmdStack(kind="llm-d", server=server)
    assert stack.accelerators == 12
    document = stack.model_dump(mode="json")["server"]["rendered"]
    assert document == {"sha256": "0" * 64, "accelerators": 12}
