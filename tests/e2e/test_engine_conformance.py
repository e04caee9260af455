"""What every engine must do, shown for Tekton: the suite of tests/engines, on the real cluster."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from e2e.runs import nothing_left
from llmatrix.cluster import api
from llmatrix.engines.tekton.sites import find_sites
from llmatrix.results.folder import FolderStore

_ENGINES = Path(__file__).parents[1] / "engines"


def _module(file: str) -> ModuleType:
    name = f"engines_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, _ENGINES / file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_conftest, _suite = _module("conftest.py"), _module("test_conformance.py")
globals().update({name: test for name, test in vars(_suite).items() if name.startswith("test_")})
# A trial takes about ten seconds of the cluster's time besides its workload, more on a busy one.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def lab(
    tmp_path: Path,
    make_namespace: Callable[..., Any],
    our_image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """A lab whose engine is Tekton, in a namespace that holds pods to the restricted standard."""
    home = make_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    monkeypatch.setenv("KUBECONFIG", str(home.cluster.kubectl.kubeconfig))
    monkeypatch.setenv("LLMATRIX_IMAGE", our_image)
    settings = {"cluster": {"namespace": home.name}}
    lab = _conftest.Lab(tmp_path, "tekton", FolderStore(tmp_path / "results"))
    lab.settings, lab.goes_on = settings, True
    with api.Cluster.connect() as cluster:

        def standing() -> list[str]:
            return [site.name for site in find_sites(cluster, home.name, {}).sites]

        lab.standing = standing
        yield lab
        nothing_left(cluster, home.name)
