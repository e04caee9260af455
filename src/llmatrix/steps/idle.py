"""Steps that have nothing to do, taken before the rest of llmatrix is imported.

In a pod every step is a process of its own, and Tekton looks once a second whether the one before
has ended; one that only says that the trial's kind of stack has no gateway would spend half a
second on imports first. So the first step leaves, for each such step, what is to be said; nothing
but the standard library is needed to say it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SO_FAR: Final = "so-far.json"
"""File in the working folder with what the steps so far left; ``in_turn`` reads and writes it."""
_IDLE: Final = "idle.json"


def leave(folder: Path, idle: Mapping[str, Mapping[str, Any]]) -> None:
    """Leave for each idle step its outcome as in a record, its results by name, and its line.

    Args:
        folder: the working folder of the trial.
        idle: by step; each has ``outcome``, ``results`` and ``line``.
    """
    _write(folder / _IDLE, idle)


def take(step: str, folder: Path, told: Path) -> bool:
    """Do a step if it is an idle one: keep its outcome, tell its results beside ``told``.

    Returns:
        Whether it was done. A trial that has failed is left to the whole program.
    """
    try:
        said = json.loads((folder / _IDLE).read_bytes())[step]
        so_far = json.loads((folder / SO_FAR).read_bytes())
    except (FileNotFoundError, KeyError):
        return False
    if so_far["failed"] is not None:
        return False
    so_far["outcomes"].append(said["outcome"])
    _write(folder / SO_FAR, so_far)
    for name, value in said["results"].items():
        (told.parent / name).write_text(value, encoding="utf-8")
    sys.stderr.write(f"{said['line']}\n")
    return True


def _write(path: Path, document: Any) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(document), encoding="utf-8")
    new.replace(path)
