"""The page without a mouse, on paper, in the dark and on a phone, in a real browser."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.report.page import render_page
from llmatrix.report.summary import Summary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Summarize = Callable[[Any], Summary]
Shape = Callable[..., Any]

LEAST_CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const p = part / 255;
      return p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (at) => {
    for (let e = at; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const worst = { ratio: 99 };
  const written = "figure:not([hidden]) svg text, main p, main td, main th, .chip, nav a";
  for (const text of document.querySelectorAll(written)) {
    if (!text.textContent.trim() || !text.getClientRects().length) continue;
    if (text.closest("#fig-heatmap svg .role-mark")) continue; // stands on the cells
    const style = getComputedStyle(text);
    const ink = rgb(text.namespaceURI.includes("svg") ? style.fill : style.color);
    if (ink[3] < 255) continue;
    const [low, high] = [light(ink), light(ground(text))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05), words = text.textContent.trim().slice(0, 60);
    if (ratio < worst.ratio) Object.assign(worst, { ratio, words });
  }
  return worst;
})()
"""


@pytest.fixture
def page(tab: Any, summarize: Summarize, synthetic: Shape, tmp_path: Path) -> Callable[..., None]:
    """Open the page of a synthetic experiment in the tab."""

    def show(**shape: Any) -> None:
        file = tmp_path / "page.html"
        file.write_text(render_page(summarize(synthetic(**shape))), encoding="utf-8")
        tab.open(file.as_uri())

    return show


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_and_written_stands_out(
    tab: Any, page: Callable[..., None], scheme: str
) -> None:
    tab.ask(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    page(requests=20, invalid=lambda number: number == 0)
    paper = tab.tell("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(247, 247, 245)", "dark": "rgb(16, 18, 22)"}[scheme]
    worst = tab.tell(LEAST_CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    assert worst["ratio"] < 99


def test_the_keyboard_reaches_everything_that_a_mouse_does(
    tab: Any, page: Callable[..., None]
) -> None:
    page(factors={"stack.router.config": ["none", "kv"]}, replicates=2, requests=20)
    tab.press("Tab", 9)
    assert tab.tell("document.activeElement.className") == "skip"
    assert tab.tell("document.activeElement.getBoundingClientRect().top >= 0"), "it is seen"
    tab.press("Enter", 13, "\r")
    tab.until("location.hash === '#answer'")

    tab.tell("document.activeElement.blur(); scrollTo(0, 0); history.replaceState({}, '', '#')")
    tab.open(tab.tell("location.href.split('#')[0]") + "?again")
    wanted = (
        "[...document.querySelectorAll("
        "'a[href], button, select, input, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility({ visibilityProperty: true })"
        " && !e.closest('details:not([open]) > :not(summary)'))"
    )
    everything = tab.tell(f"{wanted}.length")
    assert everything > 40
    tab.tell("window.met = new Set()")
    for _ in range(everything + 5):
        tab.press("Tab", 9)
        tab.tell("void met.add(document.activeElement)")
    assert (
        tab.tell(f"{wanted}.filter((e) => !met.has(e)).map((e) => e.outerHTML.slice(0, 80))") == []
    )


def test_a_trial_opens_and_closes_by_the_keyboard(tab: Any, page: Callable[..., None]) -> None:
    page(factors={"stack.router.config": ["none", "kv"]}, replicates=1, requests=20)
    tab.tell("document.querySelector('#trials-table .open').focus()")
    tab.press("Enter", 13, "\r")
    tab.until("document.querySelector('dialog[open]')?.contains(document.activeElement)")
    tab.until("document.querySelector('dialog[open] svg') !== null")
    tab.press("Escape", 27)
    tab.until("document.querySelector('dialog[open]') === null")
    assert tab.tell("document.activeElement.className") == "open"  # back where the reader was


def test_on_paper_it_is_light_whole_and_without_buttons(
    tab: Any, page: Callable[..., None]
) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    tab.ask("Emulation.setEmulatedMedia", media="print", features=features)
    tab.ask(
        "Emulation.setDeviceMetricsOverride",
        width=1032,  # A4 across, less its margins
        height=703,
        deviceScaleFactor=1,
        mobile=False,
    )
    page(replicates=4, requests=20)
    assert tab.tell("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown = "[...document.querySelectorAll('.bar, .pickers, #theme, .skip, .pin, #trials-more')]"
    assert tab.tell(f"{shown}.filter((e) => e.checkVisibility()).length") == 0
    cut = (
        "[...document.querySelectorAll('.scroll')].filter((e) => "
        "getComputedStyle(e).overflowY !== 'visible' || e.scrollHeight > e.clientHeight + 1)"
    )
    assert tab.tell(f"{cut}.length") == 0
    assert tab.tell("document.documentElement.scrollWidth") <= 1032
    printed = tab.ask("Page.printToPDF", preferCSSPageSize=True)
    assert base64.b64decode(printed["data"]).startswith(b"%PDF-")


def test_on_a_phone_nothing_is_cut(tab: Any, page: Callable[..., None]) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    tab.ask("Emulation.setDeviceMetricsOverride", **phone)
    page(requests=20)
    assert tab.tell("document.documentElement.scrollWidth") <= 390
    outside = (
        "[...document.querySelectorAll('figure:not([hidden]) svg')].filter((svg) => {"
        " const edge = svg.closest('figure').getBoundingClientRect();"
        " const box = svg.getBoundingClientRect();"
        " return box.left < edge.left || box.right > edge.right + 0.5; })"
        ".map((svg) => svg.closest('figure').id)"
    )
    assert tab.tell(outside) == []
