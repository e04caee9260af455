"""Where a trial's objects live, and the keys of what stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from llmatrix.plan.step import Step


class Site(Protocol):
    """A place with objects on it: a working folder here, a namespace on Kubernetes.

    A site knows, for each step, the key from which what stands was made. A key is written only
    after the thing is ready, and taken back before it is changed, so that no half-made thing is
    ever believed.
    """

    @property
    def folder(self) -> Path:
        """Working folder for files of the current trial, on this machine."""

    def claimed(self, step: Step) -> str | None:
        """Give the key that stands for ``step``, or None."""

    def claim(self, step: Step, key: str) -> None:
        """Record, durably, that ``step`` stands as ``key`` wants."""

    def disclaim(self, step: Step) -> None:
        """Record, durably, that nothing certain stands for ``step``."""

    def clear(self) -> list[str]:
        """End and remove whatever stands here, of any kind, and take back every key.

        Returns:
            What could not be removed, in words.
        """
