"""A trial run over parts that do what a test tells them, on a real folder store.

The stack, the harness and the site here are stand-ins for the edges; the loop, the steps, the
analysis and the store are the real ones.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from llmatrix.columns import REQUEST_COLUMNS, arrow_schema
from llmatrix.errors import StepFailure
from llmatrix.harness.protocol import Job, Measurement, Progress
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.folder import FolderStore
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.load import load
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.site import Site
from llmatrix.steps.events import Event
from llmatrix.steps.run import TrialRun
from llmatrix.target import Target


@dataclass
class MemorySite:
    """A site whose keys are in memory and whose folder is real."""

    folder: Path
    keys: dict[Step, str] = field(default_factory=dict)
    cleared: int = 0

    def claimed(self, step: Step) -> str | None:
        return self.keys.get(step)

    def claim(self, step: Step, key: str) -> None:
        self.keys[step] = key

    def disclaim(self, step: Step) -> None:
        self.keys.pop(step, None)

    def clear(self) -> list[str]:
        self.keys.clear()
        self.cleared += 1
        return []


@dataclass
class ScriptedStack:
    """A stack that remembers what was asked and fails when it is told to."""

    kind: ClassVar[str] = "simulated"
    version: ClassVar[str] = "1"
    applied: list[Step] = field(default_factory=list)
    cleansed: list[set[Step]] = field(default_factory=list)
    broken: set[Step] = field(default_factory=set)
    failures: dict[Step, list[StepFailure]] = field(default_factory=dict)
    ended_servers: list[int] = field(default_factory=list)
    told_endings: list[str] = field(default_factory=lambda: ["pod s-0: killed for memory"])
    left: list[list[str]] = field(default_factory=list)
    removed: int = 0

    def check(self, treatment: Treatment) -> None:
        del treatment

    def preflight(self, treatment: Treatment) -> None:
        del treatment

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        del trial, site
        return step not in self.broken

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        del trial, stop
        assert site.claimed(step) is None
        if self.failures.get(step):
            raise self.failures[step].pop(0)
        self.broken.discard(step)
        self.applied.append(step)

    def target(self, trial: Trial, site: Site) -> Target:
        del site
        return Target("http://127.0.0.1:1", trial.treatment.model.name, simulated=True)

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        del trial, site
        self.cleansed.append(set(changed))
        return Hygiene(clean=True, detail="scripted")

    def restarts(self, trial: Trial, site: Site) -> int:
        del trial, site
        return self.ended_servers.pop(0) if self.ended_servers else 0

    def endings(self, trial: Trial, site: Site) -> list[str]:
        del trial, site
        return self.told_endings

    def logs(self, site: Site) -> dict[str, str]:
        del site
        return {"server.log": "first line\nlast words\n"}

    def remove(self, site: Site) -> list[str]:
        self.removed += 1
        left = self.left.pop(0) if self.left else []
        if not left:
            for step in Step:
                site.disclaim(step)
        return left


@dataclass
class ScriptedHarness:
    """A harness that writes a plausible window of requests, or fails when it is told to."""

    name: ClassVar[str] = "native"
    version: ClassVar[str] = "1"
    runs: int = 0
    failures: list[StepFailure] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def preflight(self, treatment: Treatment) -> None:
        del treatment

    def run(
        self, job: Job, *, progress: Callable[[Progress], None], stop: threading.Event
    ) -> Measurement:
        del stop
        self.runs += 1
        self.jobs.append(job)
        if self.failures:
            raise self.failures.pop(0)
        progress(Progress("window", 1.0, 2.0, 10, 9, 0))
        output_len = job.workload.model_dump()["output_len"]
        pq.write_table(_requests(output_len), job.folder / "requests.parquet")
        return Measurement((0.0, 10.0), time.time(), 0.1, 0.2, 0)


def _requests(output_len: int) -> pa.Table:
    rows = []
    for number in range(100):
        at = number / 10
        rows.append(
            {
                **dict.fromkeys(REQUEST_COLUMNS),
                "request": number,
                "phase": "window",
                "scheduled_s": at,
                "sent_s": at + 0.0001,
                "first_token_s": at + 0.05,
                "last_token_s": at + 0.05 + 0.01 * (output_len - 1),
                "end_s": at + 0.05 + 0.01 * output_len,
                "ttft_ms": 50.0,
                "ttft_from_send_ms": 49.9,
                "tpot_ms": 10.0,
                "e2e_ms": 50.0 + 10 * (output_len - 1),
                "itl_ms": [10.0] * (output_len - 1),
                "prompt_tokens_asked": 100,
                "prompt_tokens": 100,
                "cached_tokens": 0,
                "output_tokens_asked": output_len,
                "output_tokens": output_len,
                "chunks": output_len,
                "status": 200,
            }
        )
    return pa.Table.from_pylist(rows, schema=arrow_schema(REQUEST_COLUMNS))


@dataclass
class Bench:
    """The parts of trial runs that follow one another on one site."""

    trials: list[Trial]
    site: MemorySite
    stack: ScriptedStack
    harness: ScriptedHarness
    store: FolderStore
    stop: threading.Event
    events: list[Event]

    def run(self, number: int = 0, *, closes: bool = False) -> TrialRun:
        return TrialRun(
            trial=self.trials[number],
            site=self.site,
            stack=self.stack,
            harness=self.harness,
            store=self.store,
            stop=self.stop,
            tell=self.events.append,
            closes=closes,
        )

    def applied(self) -> Counter[Step]:
        return Counter(self.stack.applied)


@pytest.fixture
def bench(tmp_path: Path, no_pauses: None) -> Bench:  # noqa: ARG001 - no test here waits
    document = {
        "name": "steps",
        "model": {"name": "Qwen/Qwen3-0.6B"},
        "stack": {"kind": "simulated"},
        "workload": {
            "kind": "random",
            "question_len": 100,
            "output_len": 5,
            "load": {"rate": 10, "arrivals": "constant"},
        },
        "matrix": {"workload.output_len": [5, 6], "stack.replicas": [1, 2]},
    }
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(document))
    plan = Plan(load(file), lambda stack, harness: {"stack": stack, "harness": harness})
    (tmp_path / "site").mkdir()
    return Bench(
        trials=list(plan),
        site=MemorySite(tmp_path / "site"),
        stack=ScriptedStack(),
        harness=ScriptedHarness(),
        store=FolderStore(tmp_path / "results"),
        stop=threading.Event(),
        events=[],
    )


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries follow at once; that pauses grow is shown by the tests of ``retry``."""
    monkeypatch.setattr("llmatrix.steps.retry._FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("llmatrix.steps.converge.TEARDOWN_PAUSE_S", 0.0)
