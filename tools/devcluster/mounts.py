"""Mounts below the cluster's folder: overlays, tokens, shared memory, network namespaces."""

from __future__ import annotations

import re
from pathlib import Path

from tools.devcluster.command import succeeds
from tools.devcluster.faults import ClusterFault


def below(folder: Path) -> list[Path]:
    """Give what is mounted below the folder, the latest mount first."""
    rows = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [Path(_plain(row.split()[4])) for row in rows]
    return [point for point in reversed(points) if point.is_relative_to(folder.resolve())]


def remove(folder: Path) -> None:
    """Unmount everything below the folder.

    Raises:
        ClusterFault: something stays mounted.
    """
    for point in below(folder):
        if not succeeds(["umount", point]):
            # Somebody has a file of it open; it goes when they do.
            succeeds(["umount", "-l", point])
    left = below(folder)
    if left:
        raise ClusterFault(f"still mounted: {', '.join(map(str, left))}; see: fuser -vm PATH")


def _plain(escaped: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), escaped)
