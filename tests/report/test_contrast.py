"""Colours of the page against what they stand on, light and dark (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llmatrix.report

CSS = (Path(llmatrix.report.__file__).parent / "page_parts/page.css").read_text(encoding="utf-8")
TEXT, MARK = 4.5, 3.0


def pairs() -> dict[str, tuple[str, str]]:
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"),
    [
        *((ink, ground, TEXT) for ink in ("ink", "muted") for ground in ("paper", "card", "wash")),
        *((ink, "card", TEXT) for ink in ("accent", "danger", "warn", "good")),
        ("danger", "danger-wash", TEXT),
        ("warn", "warn-wash", TEXT),
        ("accent", "paper", TEXT),
        ("ink", "cell", TEXT),
        *((f"c{number}", "card", MARK) for number in range(1, 9)),
        ("ramp-high", "card", MARK),
    ],
)
def test_what_is_read_stands_out(theme: int, ink: str, ground: str, least: float) -> None:
    found = pairs()
    assert contrast(found[ink][theme], found[ground][theme]) >= least
