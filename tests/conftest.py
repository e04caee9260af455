"""Synthetic experiments, and a place in which the real command line is called."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, settings

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.cli import main as cli
from llmatrix.plan.step import Step
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Attempt, Failure, Outcome, Record, StepOutcome
from llmatrix.results.records import write_failure, write_record
from llmatrix.stacks import process_table
from llmatrix.stacks.local_site import sites, sweep
from llmatrix.stacks.waiting import until
from tools.request_tables import parquet_bytes, request_table

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@dataclass
class Synthetic:
    """A made-up experiment: what every treatment's latencies look like is drawn from a seed."""

    factors: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {
            "stack.router.config": ["none", "prefix", "kv"],
            "workload.question_len": ["100", "1000"],
        }
    )
    replicates: int = 3
    requests: int = 200
    name: str = "synthetic"
    simulated: bool = True
    invalid: Callable[[int], bool] = lambda _: False
    failing: Callable[[int], bool] = lambda _: False
    seed: int = 7

    def combinations(self) -> list[dict[str, str]]:
        levels = itertools.product(*self.factors.values())
        return [dict(zip(self.factors, level, strict=True)) for level in levels]

    def trials(self) -> list[tuple[dict[str, str], int]]:
        return [(c, r) for c in self.combinations() for r in range(self.replicates)]


def latency_scale(levels: Mapping[str, str]) -> float:
    """Give how much slower than the quickest a treatment is: each level adds by its place."""
    picker = {"prefix": 1.0, "kv": 1.15, "queue": 1.7}.get(
        levels.get("stack.router.config", ""), 2.1
    )
    question = levels.get("workload.question_len", "100")
    return picker * (1 + float(question if question.isdecimal() else 100) / 1500)


def document_of(levels: Mapping[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "model": {"name": "m"},
        "stack": {"kind": "simulated"},
        "workload": {},
    }
    for path, level in levels.items():
        at = document
        *folders, leaf = path.split(".")
        for part in folders:
            at = at.setdefault(part, {})
        at[leaf] = {"text": f"kind: {level}"} if leaf == "config" else level
    return document


def requests_of(seed: int, count: int, *, scale: float) -> bytes:
    """Make a plausible requests.parquet: 1/10 warm-up, the rest in the window."""
    random = np.random.default_rng(seed)
    scheduled = np.sort(random.uniform(0, 10, count))
    ttft = random.lognormal(np.log(30 * scale), 0.35, count)
    gaps = random.lognormal(np.log(8), 0.15, (count, 20)).astype("float32")
    return parquet_bytes(request_table(scheduled, ttft, gaps, window_from_s=1.0))


def make_record(
    shape: Synthetic, number: int, levels: Mapping[str, str], replicate: int, **changes: Any
) -> Record:
    """Make the record of one trial; ``changes`` replace fields."""
    random = np.random.default_rng(shape.seed * 1000 + number)
    scale = latency_scale(levels)
    ttft = 30 * scale * random.normal(1, 0.02)
    tokens = 4000 * float(levels.get("workload.output_len", 100)) ** 0.15 / scale**0.2
    invalid = shape.invalid(number)
    first = number == 0
    steps = [
        StepOutcome(
            step=step,
            outcome=Outcome.APPLIED if first or step is Step.WORKLOAD else Outcome.UNCHANGED,
            seconds={Step.WORKLOAD: 15.0, Step.SERVER: 2.0 if first else 0.01}.get(step, 0.02),
            key="k",
        )
        for step in Step
    ]
    fields: dict[str, Any] = {
        "trial": trial_id(shape, levels, replicate),
        "experiment": shape.name,
        "levels": dict(levels),
        "replicate": {"deployment": 0, "workload": replicate},
        "document": document_of(levels),
        "versions": {"harness": "native-1", "stack": "simulated-1"},
        "keys": {},
        "traffic_seed": number,
        "simulated": shape.simulated,
        "accelerators": 4,
        "started_at": 1.7e9 + 20 * number,
        "ended_at": 1.7e9 + 20 * number + 17,
        "window_s": (1.0, 10.0),
        "steps": steps,
        "metrics": {
            "ttft_ms_p50": ttft,
            "ttft_ms_p90": ttft * 1.6,
            "ttft_ms_p99": None,
            "itl_ms_p50": 8 * random.normal(1, 0.01),
            "itl_ms_p99": 11 * random.normal(1, 0.02),
            "e2e_ms_p50": ttft + 160,
            "e2e_ms_p99": ttft + 300,
            "output_tokens_per_s": tokens * random.normal(1, 0.01),
            "requests_per_s": 20 * random.normal(1, 0.01),
            "prefix_cache_hit_ratio": 0.8 / scale,
        },
        "withheld": {"ttft_ms_p99": "p99 needs 662 samples; there are 180"},
        "checks": [
            Check(
                "dispatch_lag_ms_p99",
                12.5 if invalid else 0.8,
                "<= 5 ms",
                Verdict.FAIL if invalid else Verdict.PASS,
                "use fewer requests per second or a faster machine" if invalid else "",
            ),
            Check("errors_ratio", 0.0, "<= 1 %", Verdict.PASS),
        ],
        "host": {"cpu": "two cores", "python": "3.11"},
    }
    return Record.model_validate(fields | changes)


def trial_id(shape: Synthetic, levels: Mapping[str, str], replicate: int) -> str:
    text = repr((shape.name, sorted(levels.items()), replicate))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def make_failure(shape: Synthetic, levels: Mapping[str, str], replicate: int) -> Failure:
    """Make the failure of one trial."""
    return Failure(
        trial=trial_id(shape, levels, replicate),
        experiment=shape.name,
        levels=dict(levels),
        replicate={"deployment": 0, "workload": replicate},
        steps=[StepOutcome(step=Step.SERVER, outcome=Outcome.FAILED, seconds=3.0, key="k")],
        attempts=[
            Attempt(
                step=Step.SERVER,
                failure="server",
                message="the server ended with exit code 1",
                seconds=3.0,
            )
        ],
        ended_at=1.7e9,
        log="out of memory",
    )


@pytest.fixture
def synthesize(tmp_path: Path) -> Callable[[Synthetic], Path]:
    """Write an experiment into a folder store; give the experiment's folder."""

    def write(shape: Synthetic) -> Path:
        store = FolderStore(tmp_path / "results")
        for number, (levels, replicate) in enumerate(shape.trials()):
            if shape.failing(number):
                write_failure(store, make_failure(shape, levels, replicate))
                continue
            requests = requests_of(number, shape.requests, scale=latency_scale(levels))
            record = make_record(shape, number, levels, replicate)
            write_record(store, record, {"requests.parquet": requests})
        return tmp_path / "results" / shape.name

    return write


@pytest.fixture
def synthetic() -> type[Synthetic]:
    """The shape of a synthetic experiment; its defaults make six treatments of three replicates."""
    return Synthetic


@pytest.fixture
def record_of() -> Callable[..., Record]:
    """Make one record: ``record_of(shape, number, levels, replicate, **changes)``."""
    return make_record


@pytest.fixture
def failure_of() -> Callable[..., Failure]:
    """Make one failure: ``failure_of(shape, levels, replicate)``."""
    return make_failure


@dataclass(frozen=True)
class Said:
    """What one command ended with."""

    code: int
    out: str
    err: str


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
    "matrix": {"workload.output_len": [4, 5]},
    "run": {"retries": 1},
}


@dataclass
class Place:
    """A folder with an experiment, in which `llmatrix` is called as a user calls it."""

    folder: Path
    read: Callable[[], tuple[str, str]]
    token: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, file: str = "e.yaml", /, **sections: Any) -> str:
        """Write the small experiment with some sections replaced (None: left out)."""
        document = {**SMALL, **sections}
        kept = {key: value for key, value in document.items() if value is not None}
        (self.folder / file).write_text(yaml.safe_dump(kept, sort_keys=False))
        return file

    def __call__(self, *arguments: str) -> Said:
        """Call the command line in this process."""
        self.read()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["llmatrix", *arguments])
            with pytest.raises(SystemExit) as end:
                cli.main()
        out, err = self.read()
        code = end.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start `llmatrix` as a process of its own."""
        program = str(Path(sys.executable).with_name("llmatrix"))
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        process = subprocess.Popen([program, *arguments], cwd=self.folder, **options)
        self.processes.append(process)
        return process

    def finish(self, *arguments: str, timeout_s: float = 60.0) -> Said:
        """Start `llmatrix` as a process and wait for its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        return Said(process.returncode, out, err)

    def records(self, store: str = "results", experiment: str = "small") -> dict[str, Any]:
        """Give every record by its trial's id."""
        found = (self.folder / store / experiment).glob("*/record.json")
        return {path.parent.name: json.loads(path.read_bytes()) for path in found}

    def failures(self, store: str = "results", experiment: str = "small") -> dict[str, Any]:
        """Give every failure by its trial's id."""
        found = (self.folder / store / experiment).glob("*/failure.json")
        return {path.parent.name: json.loads(path.read_bytes()) for path in found}

    def running(self) -> list[process_table.Entry]:
        """Give the processes that were started from here, directly or not, and still run."""
        tokens = process_table.marked("LLMATRIX_TEST")
        others = [entry for entry in process_table.entries() if entry.pid != os.getpid()]
        return [entry for entry in others if tokens.get(entry.pid) == self.token]

    def until(self, condition: Callable[[], object], timeout_s: float = 45.0) -> None:
        """Wait for a condition; fail if it does not come true."""
        assert until(lambda: bool(condition()), timeout_s), "the condition did not come true"

    def load_generators(self) -> list[int]:
        """Give the pids of the harness's children: where one runs, the stack stands."""
        return [e.pid for e in self.running() if b"llmatrix.harness.native.child" in command_of(e)]

    @contextlib.contextmanager
    def frozen(self, but: int) -> Iterator[None]:
        """Let all processes but one stand still meanwhile, so that ending them takes its time."""
        others = [entry for entry in self.running() if entry.pid != but]
        for entry in others:
            process_table.send(entry, signal.SIGSTOP)
        yield
        for entry in others:
            process_table.send(entry, signal.SIGCONT)

    def nothing_runs(self) -> None:
        """Wait until no process that was started from here is left; fail if one stays."""
        self.until(lambda: not self.running(), 15.0)


def command_of(entry: process_table.Entry) -> bytes:
    """Give a process's command line; nothing where it has ended by now."""
    try:
        return Path(f"/proc/{entry.pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """Give a folder with picker configs and sites of its own; no process may outlive the test."""
    token = secrets.token_hex(16)
    monkeypatch.setenv("LLMATRIX_TEST", token)
    monkeypatch.setenv("LLMATRIX_STATE", str(tmp_path / "state"))
    (tmp_path / "router").symlink_to(Path(__file__).parents[1] / "examples/router")

    def read() -> tuple[str, str]:
        return capsys.readouterr()

    here = Place(tmp_path, read, token)
    yield here
    for process in here.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for site in sites():
        sweep(site, kept=True)
    left = here.running() if not until(lambda: not here.running(), 5.0) else []
    for entry in left:
        process_table.send(entry, signal.SIGKILL)
    assert not left, f"processes left behind: {left}"
