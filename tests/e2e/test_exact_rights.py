"""A whole run by an account that has exactly the rights that the docs tell people to give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.engines.tekton.submitter import AT_HOME, OF_SITES

Runs = Callable[..., Any]
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(params=[False, True], ids=["a namespace each", "namespaced"])
def file(
    request: pytest.FixtureRequest, namespace: Any, our_image: str, tmp_path: Path
) -> dict[str, Any]:
    del our_image  # it is in the cluster now
    document = {
        "name": "exact",
        "model": {"name": "Qwen/Qwen3-0.6B"},
        "stack": {"kind": "simulated"},
        "workload": {
            "kind": "random",
            "question_len": 8,
            "output_len": 4,
            "load": {"rate": 10},
            "warmup": 0,
            "duration": "2s",
        },
        "matrix": {"workload.output_len": [4, 5]},
        "run": {
            "engine": "tekton",
            "cluster": {"namespace": namespace.name, "namespaced": request.param},
        },
    }
    (tmp_path / "exact.yaml").write_text(yaml.safe_dump(document))
    return document


@pytest.fixture
def person(
    file: dict[str, Any],
    llmatrix: Runs,
    account: Callable[..., Path],
    namespace: Any,
    our_image: str,
) -> Any:
    """Run commands as somebody who may submit, where the steps' account was made by another."""
    rendered = llmatrix("tekton", "render", "exact.yaml", "-o", "out", LLMATRIX_IMAGE=our_image)
    assert rendered.code == 0, rendered.err
    whole = () if file["run"]["cluster"]["namespaced"] else OF_SITES
    kubeconfig = account(namespace, "exact", AT_HOME, whole)
    roles = kubeconfig.parent / "out" / "roles.yaml"
    namespace.cluster.kubectl.run("apply", "-f", str(roles))

    def run(*words: str) -> Any:
        return llmatrix(*words, kubeconfig=kubeconfig, LLMATRIX_IMAGE=our_image)

    return run


def test_run_and_collect(person: Runs, namespace: Any, tmp_path: Path) -> None:
    said = person("run", "exact.yaml")
    assert said.code == 0, said.err
    paths = sorted((tmp_path / "results/exact").glob("*/record.json"))
    assert len({json.loads(path.read_bytes())["trial"] for path in paths}) == 2
    assert namespace.get("pipelineruns,taskruns")["items"] == []
    told = person("status", "exact.yaml")
    assert told.code == 0, told.err


def test_submit_follow_and_cancel(person: Runs, namespace: Any) -> None:
    said = person("submit", "exact.yaml")
    assert said.code == 0, said.err
    told = person("status", "exact.yaml")
    assert told.code == 0, told.err
    ended = person("cancel", "exact.yaml")
    assert ended.code == 0, ended.err
    assert namespace.get("pipelineruns,taskruns")["items"] == []
    left = person("gc", "--cluster", "--namespace", namespace.name, "--dry-run")
    assert left.code == 0, left.err
