from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stacks.hub.hub_server import Hub, Repo, Running, serve, tiny_model

TINY = "tiny-org/tiny-model"


@pytest.fixture
def make_hub() -> Iterator[Callable[..., Running]]:
    """Serve hubs of repositories, by their names."""
    running: list[Running] = []

    def make(**repos: Repo) -> Running:
        named = {f"tiny-org/{name}": repo for name, repo in repos.items()}
        running.append(serve(Hub(named or {TINY: tiny_model()})))
        return running[-1]

    yield make
    for each in running:
        each.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What stands for a volume."""
    made = tmp_path / "volume"
    made.mkdir()
    return made
