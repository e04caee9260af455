"""Small experiments, and stores and sites of a test's own."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cli.prepare import prepare
from llmatrix.engines.protocol import Orders
from llmatrix.engines.registry import engine
from llmatrix.plan.build import Plan
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Failure, Record
from llmatrix.results.records import finished
from llmatrix.stacks.local_site import sites, sweep
from llmatrix.steps.events import Event, TrialEnded

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"name": "Qwen/Qwen3-0.6B"},
    "stack": {"kind": "simulated"},
    "workload": {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 20},
        "warmup": 0,
        "duration": "300ms",
    },
    "run": {"retries": 1},
}


@dataclass
class Lab:
    """Plans and runs of one experiment in one folder."""

    folder: Path
    engine_name: str
    store: FolderStore
    stop: threading.Event = field(default_factory=threading.Event)
    events: list[Event] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Of ``run``, for this engine."""
    goes_on: bool = False
    """Whether what was stopped here goes on elsewhere."""

    def standing(self) -> list[str]:
        """Name the sites on which something stands."""
        return [site.name for site in sites()]

    def plan(self, matrix: dict[str, Any] | None = None, **changes: Any) -> Plan:
        document = copy.deepcopy(SMALL)
        document["run"] |= copy.deepcopy(self.settings)
        for section, values in changes.items():
            document[section] = {**document.get(section, {}), **values}
        if matrix:
            document["matrix"] = matrix
        file = self.folder / "experiment.yaml"
        file.write_text(yaml.safe_dump(document))
        return prepare(file, (), ()).plan

    def run(
        self,
        plan: Plan,
        *,
        keep: bool = False,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> list[Record | Failure]:
        self.events.clear()

        def tell(event: Event) -> None:
            self.events.append(event)
            on_event(event)

        orders = Orders(frozenset(finished(self.store, plan.experiment.name)), keep)
        engine(self.engine_name).run(plan, self.store, orders, tell=tell, stop=self.stop)
        return [event.result for event in self.events if isinstance(event, TrialEnded)]


@pytest.fixture(params=["local"])
def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """One lab for each engine: what is shown here must hold for all of them."""
    monkeypatch.setenv("LLMATRIX_STATE", str(tmp_path / "state"))
    lab = Lab(tmp_path, request.param, FolderStore(tmp_path / "results"))
    yield lab
    for site in sites():
        assert sweep(site, kept=True) == []
