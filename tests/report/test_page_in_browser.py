"""The page in a real browser: it draws, says nothing on the console and asks for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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
LOADS = {"stack.router.config": ["prefix", "none"], "workload.load.rate": ["5", "10", "20", "30"]}
EVERY = {"pareto", "load", "heatmap", "effects", "ecdf", "servers", "steps"}
SCRAPED = EVERY - {"servers"}
"""What is drawn of records whose servers were never scraped."""

Summarize = Callable[[Any], Summary]
Browse = Callable[..., Any]
Shape = Callable[..., Any]

HELPERS = """
  const pause = (ms) => new Promise((next) => setTimeout(next, ms));
  const all = (selector, among = document) => [...among.querySelectorAll(selector)];
  const again = async (act) => {
    delete document.documentElement.dataset.drawn;
    act();
    while (!document.documentElement.dataset.drawn) await pause(20);
  };
  const pick = (id, text) => {
    const select = document.getElementById(id);
    select.value = [...select.options].find((option) => option.text === text).value;
    select.dispatchEvent(new Event("change"));
  };
  const frame = () => new Promise((next) => requestAnimationFrame(next));
  const until = async (seen) => {
    for (const end = performance.now() + 30e3; !seen() && performance.now() < end; ) await frame();
  };
"""


@pytest.fixture
def act(tab: Any, tmp_path: Path) -> Callable[..., Any]:
    """Open a page, do something in it when it is drawn, and give what the action returned.

    The browser runs in real time: with a virtual clock, half a second can pass between two frames.
    """

    def do(page: str, action: str) -> Any:
        file = tmp_path / "page.html"
        file.write_text(page, encoding="utf-8")
        tab.open(file.as_uri())
        found = tab.tell(f"(async () => {{ {HELPERS} {action} }})()")
        assert tab.said == []
        return found

    return do


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"replicates": 1, "requests": 30}, SCRAPED),
        ({"factors": {"stack.router.config": ["none", "kv"]}, "requests": 30}, SCRAPED),
        ({"factors": FIVE, "replicates": 2, "requests": 30}, SCRAPED),
        ({"factors": LOADS, "requests": 30}, SCRAPED),
        (
            {"factors": {}, "replicates": 1, "requests": 30},
            SCRAPED - {"heatmap", "effects"},
        ),
        (
            {"invalid": lambda _: True, "requests": 30},
            SCRAPED - {"pareto", "effects"},
        ),
    ],
    ids=["six trials", "one factor", "five factors", "loads", "one trial", "all invalid"],
)
def test_every_figure_draws_quietly(
    summarize: Summarize, browse: Browse, synthetic: Shape, changes: Any, figures: set[str]
) -> None:
    seen = browse(render_page(summarize(synthetic(**changes))))
    assert seen.console == []
    assert seen.requested == []
    assert f'data-drawn="{len(figures)}"' in seen.dom
    for name in EVERY:
        assert seen.drawn(name) is (name in figures), name
        if name in figures:
            assert "Simulated: no real model answered" in seen.figure(name)


def test_what_servers_said_is_drawn_for_the_trial_that_is_picked(
    summarize: Summarize, browse: Browse, synthetic: Shape, scrape: Callable[[Summary], Summary]
) -> None:
    summary = scrape(summarize(synthetic(replicates=1, requests=30)))
    seen = browse(render_page(summary))
    assert seen.console == []
    assert f'data-drawn="{len(EVERY)}"' in seen.dom
    assert seen.drawn("servers")
    assert "Requests running" in seen.figure("servers")
    assert "10.0.0.2:8000" in seen.figure("servers")


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


@pytest.mark.timeout(400)
def test_a_thousand_trials_are_drawn_and_listed_in_part(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    factors = {
        "stack.router.config": [f"picker{n}" for n in range(10)],
        "workload.load.rate": [str(5 * n) for n in range(1, 6)],
        "workload.question_len": ["100", "1000"],
    }
    summary = summarize(synthetic(factors=factors, replicates=10, requests=5))
    found = act(
        render_page(summary),
        """
        const rows = () => document.querySelectorAll("#trials-table tbody tr").length;
        const first = rows();
        document.getElementById("trials-more").click();
        return [first, rows(), document.querySelectorAll("#treatments-table tbody tr").length];
        """,
    )
    assert found == [100, 1000, 100]


def test_hostile_names_are_only_text(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    shape = synthetic(
        factors={'stack.<b>"x': HOSTILE, "workload.question_len": ["1", "2"]},
        replicates=2,
        requests=20,
        invalid=lambda number: number == 0,
        name="a'b <i>&amp;",
    )
    found = act(
        render_page(summarize(shape)),
        """
        document.querySelector("#trials-table .open").click();
        await until(() => document.querySelectorAll("figure svg, dialog svg").length >= 8);
        const text = document.getElementById("treatments-table").textContent;
        return {
          stolen: String(window.stolen),
          foreign: document.querySelectorAll("img, main i, main b, dialog i, dialog b").length,
          drawn: document.querySelectorAll("figure svg").length,
          kept: text.includes("<img src=x onerror=window.stolen=1>") && text.includes("7*7"),
        };
        """,
    )
    assert found == {"stolen": "undefined", "foreign": 0, "drawn": 8, "kept": True}


def test_pickers_redraw_and_heads_sort(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    heatmap, ecdf, *in_order = act(
        render_page(summarize(synthetic(requests=40))),
        """
        const part = (name, tag) => document.querySelector(`#fig-${name} ${tag}`).outerHTML;
        const said = (name) => part(name, ".chart") + part(name, "figcaption");
        pick("heatmap-metric", "Output (tok/s)");
        pick("heatmap-x", "config");
        pick("heatmap-y", "question_len");
        pick("ecdf-measure", "ITL (ms)");
        pick("ecdf-scale", "the tail, logarithmic");
        await until(() => said("heatmap").includes("Heatmap of Output (tok/s) by config and"));
        const tail = "share of requests above, logarithmic";
        await until(() => said("ecdf").includes("ITL (ms)") && said("ecdf").includes(tail));
        const sorted = (table, name) => {
          const heads = all(`#${table} th button`);
          const head = heads.find((button) => button.textContent.startsWith(name));
          head.click();
          const place = head.closest("th").cellIndex;
          const rows = all(`#${table} tbody tr`);
          const column = rows.map((row) => parseFloat(row.cells[place].textContent));
          return column.every((value, i) => !i || column[i - 1] <= value);
        };
        return [
          said("heatmap"),
          said("ecdf"),
          sorted("trials-table", "TTFT p50"),
          sorted("treatments-table", "Output"),
          all("th[aria-sort=ascending]").length,
        ];
        """,
    )
    assert in_order == [True, True, 2]
    assert "better (higher)" in heatmap
    assert "by config and question_len" in heatmap
    assert "ITL (ms)" in ecdf
    assert "share of requests above, logarithmic" in ecdf


def test_a_filter_holds_in_every_figure_and_table(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    found = act(
        render_page(summarize(synthetic(requests=40))),
        """
        const label = all("#levels label").find((l) => l.textContent.trim() === "none");
        await again(() => label.firstChild.click());
        const visible = (table) => all(`#${table} tbody tr`).filter((row) => !row.hidden);
        const marks = all("#fig-pareto .chart svg [aria-label*=treatment]");
        const labels = marks.map((e) => e.getAttribute("aria-label"));
        return {
          treatments: visible("treatments-table").length,
          trials: visible("trials-table").length,
          named: visible("trials-table").some((row) => row.textContent.includes("none")),
          drawn: labels.length > 0 && !labels.some((label) => label.includes("none")),
          said: document.getElementById("filtered").textContent.trim(),
        };
        """,
    )
    assert found == {
        "treatments": 4,
        "trials": 12,
        "named": False,
        "drawn": True,
        "said": "(4 of 6)",
    }


def test_a_trial_opens_to_its_requests_checks_and_steps(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    summary = summarize(synthetic(requests=40, invalid=lambda number: number == 3))
    found = act(
        render_page(summary),
        """
        document.querySelector("#validity .open").click();
        const dialog = document.getElementById("trial");
        const first = dialog.open;
        const dots = () => dialog.querySelectorAll(".mark-symbol.role-mark path").length;
        await until(dots);
        const marks = dots();
        const text = dialog.textContent;
        dialog.querySelector("button").click();
        return { first, marks, closed: !dialog.open, text };
        """,
    )
    assert found["first"]
    assert found["closed"]
    assert found["marks"] == 40
    assert "All 40 requests" in found["text"]
    assert "dispatch_lag_ms_p9912.5<= 5 msfail" in found["text"]
    assert "invalid: dispatch_lag_ms_p99" in found["text"]


def test_pointing_at_a_treatment_lights_it_everywhere(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    found = act(
        render_page(summarize(synthetic(requests=40))),
        """
        const weak = (opacity) => opacity > 0 && opacity <= 0.1;
        const marks = (name) => all(`#fig-${name} .chart svg path`);
        const faint = (name) => marks(name).filter((p) => weak(+p.getAttribute("opacity"))).length;
        const before = faint("pareto") + faint("ecdf");
        const pin = document.querySelector("#treatments-table tbody .pin");
        pin.click();
        await until(() => faint("pareto") && faint("ecdf") === 5);
        const lit = document.querySelectorAll("#treatments-table tr.lit").length;
        const pressed = pin.getAttribute("aria-pressed");
        return { before, pareto: faint("pareto") > 0, ecdf: faint("ecdf"), lit, pressed };
        """,
    )
    assert found == {"before": 0, "pareto": True, "ecdf": 5, "lit": 1, "pressed": "true"}


def test_the_theme_can_be_chosen(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    found = act(
        render_page(summarize(synthetic(requests=20))),
        """
        const button = document.getElementById("theme");
        const paper = () => getComputedStyle(document.body).backgroundColor;
        const papers = [1, 2].map(() => { button.click(); return paper(); });
        return [button.textContent, ...papers];
        """,
    )
    assert found == ["Theme: dark", "rgb(247, 247, 245)", "rgb(16, 18, 22)"]


def test_a_phone_scrolls_only_down(
    summarize: Summarize, act: Callable[..., Any], tab: Any, synthetic: Shape
) -> None:
    summary = summarize(synthetic(factors=LOADS | FIVE, replicates=1, requests=20))
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    tab.ask("Emulation.setDeviceMetricsOverride", **phone)
    found = act(render_page(summary), "return [innerWidth, document.documentElement.scrollWidth];")
    assert found[0] == 390
    assert found[1] <= 390


def test_what_cannot_be_seen_is_told(
    summarize: Summarize, act: Callable[..., Any], synthetic: Shape
) -> None:
    found = act(
        render_page(summarize(synthetic(requests=20))),
        """
        const unnamed = (selector, named) => all(selector).filter((e) => !named(e)).length;
        const label = (e) => e.getAttribute("aria-label") ?? "";
        const titled = (e) => document.getElementById(e.getAttribute("aria-labelledby"));
        const chart = "figure:not([hidden]) .chart";
        return [
          unnamed(chart, (e) => e.role === "graphics-document" && label(e).length > 20),
          unnamed("select, input", (e) => e.labels.length === 1),
          unnamed("button", (e) => (label(e) || e.textContent).trim()),
          unnamed(".scroll", (e) => e.tabIndex === 0 && (label(e) || titled(e))),
          unnamed("section", titled),
        ];
        """,
    )
    assert found == [0, 0, 0, 0, 0]
