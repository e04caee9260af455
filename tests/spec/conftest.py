"""An experiment folder to load from, and the sentences that loading ends in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llmatrix.errors import SpecError
from llmatrix.spec.load import Loaded, load

EXPERIMENT = """\
name: pickers
model: {name: Qwen/Qwen3-0.6B}
stack:
  kind: simulated
  replicas: 4
  router: {config: router/queue.yaml}
workload:
  kind: shared-prefix
  groups: 32
  prefix_len: 2048
  question_len: 100
  output_len: 100
  load: {rate: 20, arrivals: poisson}
  duration: 30s
matrix:
  stack.router.config: [router/none.yaml, router/queue.yaml]
  workload.output_len: [100, 300]
  exclude: [{workload.output_len: 300, stack.router.config: none}]
replicates: 3
slo: {ttft_p99: 500ms}
run: {seed: 7}
results: {store: results/}
"""

Load = Callable[..., Loaded]
Say = Callable[..., list[str]]


@pytest.fixture
def text() -> str:
    return EXPERIMENT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``e.yaml`` and two picker configs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "router").mkdir()
    for name in ("none", "queue"):
        (tmp_path / "router" / f"{name}.yaml").write_text(f"plugins: [{name}]\n")
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    return tmp_path


@pytest.fixture
def load_text(folder: Path) -> Load:
    """Load a text as ``e.yaml``."""

    def loaded(text: str, overrides: Sequence[str] = ()) -> Loaded:
        (folder / "e.yaml").write_text(text)
        return load(Path("e.yaml"), overrides=overrides)

    return loaded


@pytest.fixture
def say(load_text: Load) -> Say:
    """Load a text that is wrong, and give the sentences that say so."""

    def sentences(text: str, overrides: Sequence[str] = ()) -> list[str]:
        with pytest.raises(SpecError) as caught:
            load_text(text, overrides)
        assert caught.value.exit_code == 2
        return str(caught.value).replace(str(Path.cwd()), "HERE").splitlines()

    return sentences
