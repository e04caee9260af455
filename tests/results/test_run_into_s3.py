from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.results.dataset import load
from llmatrix.results.object_address import Patience, parse
from llmatrix.results.objects import ObjectStore

EXPERIMENT = """
name: small
model: {{name: Qwen/Qwen3-0.6B}}
stack: {{kind: simulated, replicas: 1}}
workload:
  kind: random
  question_len: 50
  output_len: 5
  load: {{concurrency: 2}}
  warmup: 200ms
  duration: 1s
matrix:
  workload.output_len: [5, 10]
results: {{store: {store}}}
"""


def llmatrix(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmatrix", *words]
    environment = {**os.environ, "LLMATRIX_STATE": str(folder / "state")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_run_keeps_its_records_in_s3_and_its_report_is_made_from_there(
    bucket: str, proxy: Callable[..., Any], quick: Patience, tmp_path: Path
) -> None:
    between = proxy(fail=0.2)
    url = f"s3://{bucket}/team?endpoint=http://127.0.0.1:{between.port}"
    (tmp_path / "small.yaml").write_text(EXPERIMENT.format(store=url))
    first = llmatrix(tmp_path, "run", "small.yaml")
    assert first.returncode == 0, first.stderr
    assert "2 of 2 trials have a record" in first.stderr
    again = llmatrix(tmp_path, "run", "small.yaml")
    assert "2 trials have a record already and are reused" in again.stderr
    store = ObjectStore(parse(f"s3://{bucket}/team"), quick)
    data = load(store, "small")
    assert (len(data.records), data.problems, data.missing) == (2, (), ())
    with data.connect() as connection:
        rows = connection.execute("SELECT count(*) FROM requests").fetchall()
    assert rows[0][0] > 2
    everything = b"".join(store.get(name) for name in store.names())
    assert b"secret-word" not in everything
    told = llmatrix(tmp_path, "report", f"s3://{bucket}/team/small")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "small.html").is_file()
