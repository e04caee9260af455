"""Trials as MLflow runs, in a real database file."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="llmatrix[mlflow] is not installed"
)


@needs_mlflow
@pytest.mark.slow
@pytest.mark.timeout(600)  # importing MLflow takes half a minute on a busy disk
def test_trials_become_runs_once(
    place: Any, synthesize: Callable[[Any], Path], synthetic: Any
) -> None:
    synthesize(synthetic(replicates=1, invalid=lambda number: number == 0))
    uri = f"sqlite:///{place.folder / 'runs.db'}"
    # A process of its own: MLflow changes logging and warnings of the one that it is in.
    said = place.finish("export", "results", "--mlflow", uri, timeout_s=280)
    assert said.code == 0, said.err
    assert "6 runs of experiment synthetic" in said.out
    with sqlite3.connect(place.folder / "runs.db") as database:

        def ask(sql: str, *values: str) -> list[Any]:
            return database.execute(sql, values).fetchall()

        assert ask("SELECT count(*) FROM runs WHERE status = 'FINISHED'") == [(6,)]
        assert ask("SELECT name FROM experiments WHERE name = 'synthetic'") == [("synthetic",)]
        valid = ask("SELECT value, count(*) FROM tags WHERE key = 'llmatrix.valid' GROUP BY value")
        assert valid == [("false", 1), ("true", 5)]
        because = ask("SELECT value FROM tags WHERE key = 'llmatrix.invalid_because'")
        assert because == [("dispatch_lag_ms_p99 12.5 (<= 5 ms)",)]
        record = json.loads(min((place.folder / "results").glob("*/*/record.json")).read_bytes())
        logged = ask(
            "SELECT metrics.key, metrics.value FROM metrics JOIN tags USING (run_uuid) "
            "WHERE tags.key = 'llmatrix.trial' AND tags.value = ?",
            record["trial"],
        )
        assert dict(logged) == {k: v for k, v in record["metrics"].items() if v is not None}
        routers = ask("SELECT DISTINCT value FROM params WHERE key = 'stack.router.config'")
        assert {value for (value,) in routers} == {"none", "prefix", "kv"}
    again = place.finish("export", "results", "--mlflow", uri, timeout_s=280)
    assert "0 runs of experiment synthetic, 6 were there already" in again.out


@needs_mlflow
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_store_that_mlflow_cannot_open_is_one_clear_sentence(
    place: Any, synthesize: Callable[[Any], Path], synthetic: Any
) -> None:
    synthesize(synthetic(replicates=1))
    said = place.finish("export", "results", "--mlflow", "nonsense://x", timeout_s=280)
    assert said.code == 3
    assert said.err.count("error:") == 1
    assert "sqlite:///runs.db" in said.err


def test_without_mlflow_the_extra_is_named(
    place: Any,
    synthesize: Callable[[Any], Path],
    synthetic: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synthesize(synthetic(replicates=1))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said = place("export", "results", "--mlflow", "sqlite:///runs.db")
    assert said.code == 3
    assert "pip install 'llmatrix[mlflow]'" in said.err
