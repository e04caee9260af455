"""Kustomize, by itself or as kubectl has it: a folder rendered on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llmatrix.cluster.programs import found, output
from llmatrix.errors import EnvironmentFault

VARIABLE: Final = "LLMATRIX_KUSTOMIZE"


def program() -> list[str]:
    """Give the words that begin its command.

    Raises:
        EnvironmentFault: there is neither kustomize nor kubectl.
    """
    if place := found("kustomize", VARIABLE):
        return [place, "build"] if "kubectl" not in Path(place).name else [place, "kustomize"]
    if place := found("kubectl", "LLMATRIX_KUBECTL"):
        return [place, "kustomize"]
    raise EnvironmentFault(
        f"a kustomization is rendered by kustomize or kubectl, and neither is on the PATH; install "
        f"one, or name it in {VARIABLE}"
    )


def build(folder: Path) -> str:
    """Render a kustomization.

    Raises:
        NotRendered: it does not render; with what the program says.
        EnvironmentFault: there is no program to do it.
    """
    return output([*program(), str(folder)])
