"""The page's pictures as Vega-Lite, built and checked by Altair."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from llmatrix.report.charts.factors import effects, heatmap
from llmatrix.report.charts.load import load
from llmatrix.report.charts.look import SIMULATED, Picture, finish
from llmatrix.report.charts.pareto import pareto
from llmatrix.report.charts.requests import ecdf, requests
from llmatrix.report.charts.serving import servers, steps

__all__ = ["SIMULATED", "charts"]

_MAKERS: Final[dict[str, Callable[[], Picture]]] = {
    "pareto": pareto,
    "load": load,
    "heatmap": heatmap,
    "effects": effects,
    "ecdf": ecdf,
    "servers": servers,
    "steps": steps,
    "requests": requests,
}


@cache
def charts(*, simulated: bool) -> dict[str, dict[str, Any]]:
    """Give each picture's Vega-Lite document by name."""
    return {name: finish(maker(), simulated=simulated) for name, maker in _MAKERS.items()}
