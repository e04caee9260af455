"""Experiments on a real cluster as a user runs them: a file, a command, and what must be left."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    PERSISTENT_VOLUME_CLAIM,
    PIPELINE_RUN,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    TASK,
    TASK_RUN,
    Object,
)
from llmatrix.engines.tekton.reading import Phase, TrialState, read_trial
from llmatrix.engines.tekton.sites import find_sites
from llmatrix.stacks.waiting import until

PATIENCE_S = 420.0
_GO = (
    *(PIPELINE_RUN, TASK_RUN, TASK, POD, JOB, CONFIG_MAP, SECRET, DEPLOYMENT, STATEFUL_SET),
    *(SERVICE, PERSISTENT_VOLUME_CLAIM),
)
"""Kinds of which nothing of ours may outlive a run."""


_OURS = {labels.MANAGED_BY: labels.OURS}


def nothing_left(cluster: Cluster, home: str, *kept: str) -> None:
    """Fail if a run has left anything in its home namespace, or a site elsewhere.

    Args:
        cluster: as its administrator sees it.
        home: the namespace.
        kept: components of which objects outlive a run, until they expire.
    """
    sites = [site.name for site in find_sites(cluster, home, {}).sites]
    assert sites == [], sites
    left = [
        f"{kind.name} {each['metadata']['name']}"
        for kind in _GO
        for each in cluster.find(kind, home, _OURS)
        if each["metadata"]["labels"].get(labels.COMPONENT) not in kept
    ]
    assert left == [], left


@dataclass
class Field:
    """An experiment in a namespace of its own, run as a user runs it.

    Attributes:
        folder: of the file, and of the results.
        cluster: as its administrator sees it.
        home: the namespace.
        kubectl: of the administrator.
        document: the experiment; a test may change it before it starts something.
    """

    folder: Path
    cluster: Cluster
    home: str
    kubectl: Any
    document: dict[str, Any]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "e.yaml"

    def start(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        """Write the experiment down and start a command, if not another then its run."""
        self.file.write_text(yaml.safe_dump(self.document, sort_keys=False))
        program = Path(sys.executable).with_name("llmatrix")
        command = [str(program), *(words or ("run", str(self.file)))]
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **env}, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def done(self, *words: str, code: int = 0, **env: str) -> None:
        """Start a command and wait for its end, which must be this one."""
        assert self.start(*words, **env).wait(PATIENCE_S) == code, self.log()

    def log(self) -> str:
        """Give what all commands have printed."""
        return (self.folder / "log.txt").read_text()

    def ends_well(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a run; every trial must have one whole record, and nothing stand."""
        assert process.wait(PATIENCE_S) == 0, self.log()
        records = self.records()
        wanted = len(self.document["matrix"]["workload.output_len"])
        assert len(records) == len({r["trial"] for r in records}) == wanted, self.log()
        self.nothing_left()

    def records(self) -> list[dict[str, Any]]:
        return self._found("record.json")

    def failures(self) -> list[dict[str, Any]]:
        return self._found("failure.json")

    def _found(self, name: str) -> list[dict[str, Any]]:
        found = sorted((self.folder / "results" / self.document["name"]).glob(f"*/{name}"))
        return [json.loads(path.read_bytes()) for path in found]

    def nothing_left(self, *kept: str) -> None:
        """Fail if anything of ours stands but the account of the steps, and what is kept."""
        nothing_left(self.cluster, self.home, *kept)
        accounts = self.cluster.find(SERVICE_ACCOUNT, self.home, _OURS)
        assert [each["metadata"]["name"] for each in accounts] == ["llmatrix"]

    def states(self) -> list[tuple[Object, TrialState]]:
        found = self.cluster.find(TASK_RUN, self.home, {labels.TRIAL: None})
        return [(each, read_trial(each)) for each in found]

    def in_step(self, step: str) -> TrialState:
        """Wait until a trial is in a step; give it."""

        def there() -> TrialState | None:
            for _, state in self.states():
                now = state.step
                if state.phase is Phase.RUNNING and now is not None and now.step == step:
                    return state
            return None

        assert until(lambda: there() is not None, PATIENCE_S, every_s=0.3), self.log()
        state = there()
        return state if state is not None else self.in_step(step)

    def site_pods(self, component: str) -> list[Object]:
        (site,) = find_sites(self.cluster, self.home, {}).sites
        pods = self.cluster.find(POD, site.name, {labels.SITE: site.name, labels.STEP: component})
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


@pytest.fixture
def ground(
    tmp_path: Path,
    admin: Cluster,
    make_namespace: Callable[..., Any],
    our_image: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Field]:
    """A field for the experiment of a module, ``EXPERIMENT``; what a test starts ends with it."""
    home = make_namespace()
    monkeypatch.setenv("LLMATRIX_IMAGE", our_image)
    run = {"engine": "tekton", "cluster": {"namespace": home.name}}
    document = copy.deepcopy(request.module.EXPERIMENT) | {"run": run}
    ground = Field(tmp_path, admin, home.name, home.cluster.kubectl, document)
    yield ground
    for process in ground.processes:
        process.kill()
        process.wait()
