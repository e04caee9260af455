"""The page in a real browser: it draws, says nothing on the console and asks for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from llmatrix.report.page import render_page
from llmatrix.report.summary import Summary

pytestmark = pytest.mark.slow

FIVE = {f"workload.factor{number}": ["1", "2"] for number in range(5)}
HOSTILE = [
    "</script><script>window.stolen=1</script>",
    "<img src=x onerror=window.stolen=1>",
    "\"'`&{{7*7}}${7*7}",
    "-->]]>\u2028",
]

Summarize = Callable[[Any], Summary]
Browse = Callable[[str], Any]
Shape = Callable[..., Any]


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"replicates": 1, "requests": 30}, {"heatmap", "scatter", "ecdf", "steps"}),
        (
            {"factors": {"stack.router.config": ["none", "kv"]}, "requests": 30},
            {"heatmap", "scatter", "ecdf", "steps"},
        ),
        (
            {"factors": FIVE, "replicates": 2, "requests": 30},
            {"heatmap", "scatter", "ecdf", "steps"},
        ),
        ({"factors": {}, "replicates": 1, "requests": 30}, {"scatter", "ecdf", "steps"}),
        ({"invalid": lambda _: True, "requests": 30}, {"heatmap", "scatter", "ecdf", "steps"}),
    ],
    ids=["six trials", "one factor", "five factors", "one trial", "all invalid"],
)
def test_every_figure_draws_quietly(
    summarize: Summarize, browse: Browse, synthetic: Shape, changes: Any, figures: set[str]
) -> None:
    seen = browse(render_page(summarize(synthetic(**changes))))
    assert seen.console == []
    assert seen.requested == []
    assert f'data-drawn="{len(figures)}"' in seen.dom
    for name in ("heatmap", "scatter", "ecdf", "steps"):
        assert seen.drawn(name) is (name in figures), name
        if name in figures:
            assert "Simulated: no real model answered" in seen.figure(name)


@pytest.mark.parametrize("failing", [True, False], ids=["only failures", "nothing"])
def test_a_page_without_records_is_quiet_too(
    summarize: Summarize, browse: Browse, synthetic: Shape, *, failing: bool
) -> None:
    shape = synthetic(replicates=1, failing=lambda _: True, factors={} if failing else {"a.b": []})
    seen = browse(render_page(summarize(shape)))
    assert seen.console == []
    assert seen.requested == []
    sentence = "All 1 trials failed." if failing else "No trial has been measured yet."
    assert sentence in seen.dom
    assert "<figure" not in seen.dom


COUNT_FOREIGN = """
<script>
const ready = setInterval(() => {
  if (!document.documentElement.dataset.drawn) return;
  clearInterval(ready);
  document.body.dataset.stolen = String(window.stolen);
  document.body.dataset.foreign = String(document.querySelectorAll("img, main i, main b").length);
}, 20);
</script>
"""


def test_hostile_names_are_only_text(
    summarize: Summarize, browse: Browse, synthetic: Shape
) -> None:
    shape = synthetic(
        factors={'stack.<b>"x': HOSTILE, "workload.question_len": ["1", "2"]},
        replicates=2,
        requests=20,
        invalid=lambda number: number == 0,
        name="a'b <i>&amp;",
    )
    html = render_page(summarize(shape))
    seen = browse(html + COUNT_FOREIGN)
    assert seen.console == []
    assert 'data-stolen="undefined"' in seen.dom
    assert 'data-foreign="0"' in seen.dom
    assert seen.drawn("heatmap")
    assert "7*7" in seen.dom


DRIVE = """
<script>
const ready = setInterval(() => {
  if (!document.documentElement.dataset.drawn) return;
  clearInterval(ready);
  const pick = (id, text) => {
    const select = document.getElementById(id);
    select.value = [...select.options].find((option) => option.text === text).value;
    select.dispatchEvent(new Event("change"));
  };
  pick("heatmap-metric", "Output (tok/s)");
  pick("heatmap-x", "config");
  pick("heatmap-y", "question_len");
  pick("ecdf-measure", "ITL (ms)");
  const heads = [...document.querySelectorAll("#trials-table th button")];
  const head = heads.find((button) => button.textContent.startsWith("TTFT p50"));
  head.click();
  const place = head.closest("th").cellIndex;
  const rows = [...document.querySelectorAll("#trials-table tbody tr")];
  const column = rows.map((row) => parseFloat(row.cells[place].textContent));
  const sorted = column.every((value, i) => !i || column[i - 1] <= value);
  document.body.dataset.sorted = String(sorted);
}, 20);
</script>
"""


def test_pickers_redraw_and_heads_sort(
    summarize: Summarize, browse: Browse, synthetic: Shape
) -> None:
    seen = browse(render_page(summarize(synthetic(requests=40))) + DRIVE)
    assert seen.console == []
    assert "better (higher)" in seen.figure("heatmap")
    assert "Heatmap of Output (tok/s) by config and question_len" in seen.figure("heatmap")
    assert "ITL (ms)" in re.sub(r"<option.*?</option>", "", seen.figure("ecdf"))
    assert 'data-sorted="true"' in seen.dom
    assert 'aria-sort="ascending"' in seen.dom
