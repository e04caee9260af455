from __future__ import annotations

import html
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from llmatrix.report import main_effects
from llmatrix.report.main_effects import metric_effects, no_interactions
from llmatrix.report.page import render_page
from llmatrix.report.summary import Summary
from llmatrix.report.terminal import print_report

Summarize = Callable[[Any], Summary]
Shape = Callable[..., Any]


def said(summary: Summary) -> tuple[str, str]:
    """Give what the terminal and the page say of the experiment, as plain text on one line."""
    out = io.StringIO()
    print_report(summary, Console(file=out, highlight=False))
    return " ".join(out.getvalue().split()), html.unescape(render_page(summary))


def test_interactions_are_told_up_to_a_number_of_treatments(
    summarize: Summarize, synthetic: Shape
) -> None:
    summary = summarize(synthetic(requests=5))
    assert all(effects.pairs for effects in metric_effects(summary))
    assert no_interactions(summary) == ""
    assert all("is not computed above" not in text for text in said(summary))


def test_above_it_the_page_and_the_terminal_say_so_and_what_to_do(
    summarize: Summarize, synthetic: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_effects, "MOST_TREATMENTS", 5)
    summary = summarize(synthetic(requests=5))
    found = metric_effects(summary)
    assert all(effects.main and not effects.pairs for effects in found)
    why = no_interactions(summary)
    assert "not computed above 5 treatments, and there are 6: it would take longer" in why
    assert all(why in text for text in said(summary))


def test_a_single_factor_has_nothing_to_depend_on(
    summarize: Summarize, synthetic: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_effects, "MOST_TREATMENTS", 1)
    summary = summarize(synthetic(requests=5, factors={"stack.router.config": ["none", "kv"]}))
    assert no_interactions(summary) == ""
