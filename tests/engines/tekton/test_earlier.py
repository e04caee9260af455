"""Records that an earlier run left on its claim are taken, not measured again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import Kind, Object
from llmatrix.engines.tekton import earlier
from llmatrix.results.folder import FolderStore
from llmatrix.results.records import finished, write_record
from llmatrix.steps.events import Event, Warned, Watch

CLAIM = "llmatrix-results-compile-test"


class Claimed:
    """A cluster as far as it is asked here."""

    namespace = "bench"

    def __init__(self) -> None:
        self.claims = {CLAIM}
        self.runs: list[Object] = []

    def metadata(self, kind: Kind, name: str, namespace: str) -> Object | None:
        assert (kind.name, namespace) == ("PersistentVolumeClaim", "bench")
        return {"name": name} if name in self.claims else None

    def find(self, kind: Kind, namespace: str, selection: Any) -> list[Object]:
        del kind, namespace, selection
        return self.runs


class Opened(FolderStore):
    """What is on the claim."""

    closed = 0

    def close(self) -> None:
        Opened.closed += 1


@pytest.fixture
def on_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    store = Opened(tmp_path / "claim")
    monkeypatch.setattr(earlier, "ClaimStore", lambda *_: store)
    Opened.closed = 0
    return store


def test_what_the_store_lacks_and_the_claim_has_is_copied(
    plan_of: Callable[..., Any],
    record_of: Callable[..., Any],
    synthetic: Callable[[], Any],
    on_claim: Opened,
    tmp_path: Path,
) -> None:
    plan = plan_of({"workload.output_len": [4, 5, 6, 7]})
    one, two, three, _ = (trial.id for trial in plan)
    store = FolderStore(tmp_path / "results")

    def put(where: FolderStore, trial: str, ended_at: float = 1.0) -> None:
        change = {"trial": trial, "experiment": "compile-test", "ended_at": ended_at}
        write_record(where, record_of(synthetic(), 1, {}, 0, **change), {})

    put(store, one)
    for trial in (one, two, three, "f" * 16):
        put(on_claim, trial, ended_at=2.0)
    cluster = Claimed()
    told: list[Event] = []
    given = (cast("Cluster", cluster), plan, store, {one})
    bring = partial(earlier.bring, *given, tell=told.append)
    cluster.runs = [{"metadata": {"name": "r"}, "status": {}}]
    assert bring() == 0  # a run is under way
    cluster.runs, cluster.claims = [], set()
    assert bring() == 0  # no claim, or no longer
    assert Opened.closed == 0
    cluster.claims = {CLAIM}
    assert bring() == 2
    assert Opened.closed == 1
    assert finished(store, "compile-test") == {one, two, three}
    assert told == []


@pytest.mark.parametrize(
    "case",
    [(2, False, True), (1, False, False), (2, True, False)],
    ids=["nothing is missing", "a trial is missing", "the claim has records of other trials"],
)
def test_what_an_earlier_run_left_goes_once_nothing_there_is_needed(
    plan_of: Callable[..., Any],
    record_of: Callable[..., Any],
    synthetic: Callable[[], Any],
    on_claim: Opened,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int, bool, bool],
) -> None:
    trials, others, goes = case
    left: list[str] = []
    told: list[Event] = []

    def leave(_: object, __: object, experiment: str, tell: Watch) -> None:
        left.append(experiment)
        tell(Warned("could not remove: Pod a/b"))

    monkeypatch.setattr(earlier, "leave", leave)
    plan = plan_of({"workload.output_len": [4, 5]})
    there = [trial.id for trial in plan][:trials] + (["f" * 16] if others else [])
    for trial in there:
        change = {"trial": trial, "experiment": "compile-test", "ended_at": 1.0}
        write_record(on_claim, record_of(synthetic(), 1, {}, 0, **change), {})
    store = FolderStore(tmp_path / "results")
    brought = earlier.bring(cast("Cluster", Claimed()), plan, store, set(), tell=told.append)
    assert brought == trials
    assert left == (["compile-test"] if goes else [])
    assert told == ([Warned("could not remove: Pod a/b")] if goes else [])
    assert Opened.closed == 1
