"""The shared libraries that a program of this machine needs, for an image that has nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tools.devcluster.command import output
from tools.devcluster.faults import ClusterFault

_NEEDED: Final = re.compile(r"^\s*(?:(?P<name>\S+) => )?(?P<path>/\S+|not found)(?: \(0x\w+\))?$")


def needed(programs: Iterable[Path], beside: Path | None = None) -> dict[str, Path]:
    """Give the libraries and the loader: path in the image → file here; the two are the same path.

    Args:
        programs: dynamically linked programs or libraries.
        beside: a folder of libraries that the image has anyway; they are left out.

    Raises:
        ClusterFault: one is not on this machine.
    """
    searched = {**os.environ, "LD_LIBRARY_PATH": str(beside)} if beside else None
    found = {}
    for program in programs:
        for library in parse(output(["ldd", program], environment=searched), program):
            if beside is None or not library.is_relative_to(beside):
                found[str(library)] = library
    return found


def parse(said: str, program: Path) -> Iterator[Path]:
    """Read what ``ldd`` says.

    Raises:
        ClusterFault: a library is not found.
    """
    for row in said.splitlines():
        match = _NEEDED.match(row)
        if match is None:  # the kernel's own, or a program that needs nothing
            continue
        if match["path"] == "not found":
            raise ClusterFault(f"{program} needs {match['name']}, which this machine lacks")
        yield Path(match["path"])
