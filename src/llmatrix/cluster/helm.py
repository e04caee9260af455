"""Helm, as far as it is used: charts fetched and rendered on this machine, no cluster asked."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llmatrix.cluster.programs import FETCH_S, NotRendered, found, output
from llmatrix.errors import EnvironmentFault

VARIABLE: Final = "LLMATRIX_HELM"
HOOK: Final = "helm.sh/hook"
"""Annotation of what helm runs before or after an installation, and never we."""


def program() -> str:
    """Give the program.

    Raises:
        EnvironmentFault: there is none.
    """
    place = found("helm", VARIABLE)
    if place is None:
        raise EnvironmentFault(
            f"a chart is rendered by helm, and there is none on the PATH; install it "
            f"(https://helm.sh/docs/intro/install), or name it in {VARIABLE}"
        )
    return place


def fetch(source: str, name: str | None, version: str) -> bytes:
    """Give a chart of a registry (``oci://…``) or, with its name, of a repository, as its archive.

    Raises:
        NotRendered: it cannot be had.
        EnvironmentFault: there is no helm.
    """
    which = [source] if name is None else [name, "--repo", source]
    with tempfile.TemporaryDirectory() as folder:
        words = [program(), "pull", *which, "--version", version, "--destination", folder]
        output(words, timeout_s=FETCH_S)
        archives = list(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise NotRendered("helm fetched no chart")
        return archives[0].read_bytes()


def template(
    chart: Path,
    *,
    release: str,
    namespace: str,
    values: Sequence[Path],
    api_versions: Sequence[str] = (),
) -> str:
    """Render a chart, a folder or an archive; hooks are among what comes out, CRDs are not.

    Raises:
        NotRendered: it does not render; with what helm says.
        EnvironmentFault: there is no helm.
    """
    words = [program(), "template", release, str(chart), "--namespace", namespace]
    for file in values:
        words += ["--values", str(file)]
    for api in api_versions:
        words += ["--api-versions", api]
    return output(words)
