"""The stacks of this machine, held to what every stack must do, with real servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llmatrix.stacks import processes, registry
from llmatrix.stacks.local_site import LocalSite
from llmatrix.stacks.protocol import Stack
from stacks.conformance import (
    Rig,
    converge,
    make_trial,
    test_a_killed_server_is_noticed_and_repaired,
    test_another_llmatrix_takes_over_and_removes,
    test_applying_after_an_apply_that_was_killed_half_way,
    test_applying_twice_leaves_one_of_each,
    test_stopping_an_apply_leaves_no_server,
    test_the_whole_life,
)

__all__ = [
    "test_a_killed_server_is_noticed_and_repaired",
    "test_another_llmatrix_takes_over_and_removes",
    "test_applying_after_an_apply_that_was_killed_half_way",
    "test_applying_twice_leaves_one_of_each",
    "test_stopping_an_apply_leaves_no_server",
    "test_the_whole_life",
]
pytestmark = pytest.mark.slow
CASES = ("simulated", "endpoint", "process")


@dataclass
class LocalRig(Rig):
    """Processes of this machine."""

    on: ClassVar[str] = "local"
    stack: Stack
    site: LocalSite
    section: dict[str, Any]
    stuck: dict[str, Any] | None
    clean: bool | None

    def running(self) -> set[tuple[str, str]]:
        recorded = processes.recorded(self.site.folder)
        return {(one.name, str(one.pid)) for one in recorded if processes.alive(one)}

    def recorded(self) -> int:
        return len(processes.recorded(self.site.folder))

    def kill_a_server(self) -> None:
        (server,) = processes.recorded(self.site.folder, "server")
        os.kill(server.pid, signal.SIGKILL)

    def site_in_another(self) -> str:
        return f"LocalSite(Path({str(self.site.folder)!r}))"


@pytest.fixture
def served_elsewhere(llama_command: list[str], tmp_path: Path) -> Iterator[str]:
    """Serve the tiny model from another site, as somebody else would; give the URL."""
    stack, elsewhere = registry.stack("process"), LocalSite(tmp_path / "elsewhere")
    trial = make_trial({"kind": "process", "command": llama_command})
    converge(stack, trial, elsewhere)
    yield stack.target(trial, elsewhere).base_url
    assert stack.remove(elsewhere) == []


@pytest.fixture(params=CASES)
def rig(request: pytest.FixtureRequest, site: LocalSite) -> Rig:
    kind: str = request.param
    section: dict[str, Any] = {"kind": kind}
    stuck: dict[str, Any] | None = None
    clean: bool | None = None
    if kind == "simulated":
        section |= {"replicas": 2}
        stuck, clean = section | {"engine": {"startup": 600}}, True
    elif kind == "process":
        section |= {
            "command": request.getfixturevalue("llama_command"),
            "args": {"parallel": 2},
        }
        stuck = section | {"ready": {"path": "/never"}}
    else:
        section |= {"url": request.getfixturevalue("served_elsewhere")}
    return LocalRig(registry.stack(kind), site, section, stuck, clean)


def test_every_kind_is_held_to_this_suite() -> None:
    assert set(CASES) == set(registry.KINDS["local"])
