"""A build is named by everything that it is made of, and by nothing else."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from tools.devcluster import builds, families
from tools.devcluster.families import FAMILIES, GATEWAY, PICKERS, Family


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    pause = next(family for family in FAMILIES if family.name == "pause")
    shutil.copytree(pause.folder, tmp_path / "go/pause")
    monkeypatch.setattr(families, "__file__", str(tmp_path / "families.py"))
    return pause


def test_another_content_is_another_build(family: Family) -> None:
    before = builds.digest(family, "go1")
    (family.folder / "main.go").touch()
    assert builds.digest(family, "go1") == before
    with (family.folder / "go.sum").open("a") as sums:
        sums.write("example.com/more v1.0.0 h1:0=\n")
    assert builds.digest(family, "go1") != before


def test_another_go_or_stamp_is_another_build(family: Family) -> None:
    stamped = dataclasses.replace(family, stamp={"main.version": "1"})
    found = {
        builds.digest(family, "go1"),
        builds.digest(family, "go2"),
        builds.digest(stamped, "go1"),
    }
    assert len(found) == 3


@pytest.mark.parametrize("family", [*FAMILIES, *GATEWAY, *PICKERS], ids=lambda family: family.name)
def test_each_family_is_pinned(family: Family) -> None:
    assert (family.folder / "go.mod").is_file()
    assert (family.folder / "go.sum").is_file()
    text = (family.folder / "go.mod").read_text()
    assert f"module github.com/llmatrix/llmatrix/tools/devcluster/go/{family.name}\n" in text


def test_versions_that_programs_are_stamped_with_are_those_that_are_required() -> None:
    required = {
        family.name: (family.folder / "go.mod").read_text()
        for family in (*FAMILIES, *GATEWAY, *PICKERS)
    }
    assert f"k8s.io/kubernetes {families.KUBERNETES}" in required["kubernetes"]
    assert f"github.com/tektoncd/pipeline {families.TEKTON}" in required["tekton"]
    assert f"github.com/coredns/coredns {families.COREDNS}" in required["coredns"]
    assert f"github.com/tektoncd/cli v{families.TKN}" in required["tkn"]
    assert f"helm.sh/helm/v3 {families.HELM}" in required["helm"]
    assert f"gateway-api-inference-extension {families.PICKER}" in required["gaie"]
    assert f"envoyproxy/gateway {families.ENVOY_GATEWAY}" in required["envoygateway"]
    assert f"llm-d/llm-d-inference-scheduler {families.LLM_D}" in required["llmd"]


def test_a_plain_cluster_builds_nothing_of_the_gateway() -> None:
    extra = {family.name for family in (*GATEWAY, *PICKERS)}
    assert not {family.name for family in FAMILIES} & extra
