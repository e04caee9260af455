"""CPU seconds of every process below this one but the server's, sampled while a client runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

_EVERY_S = 0.05
_SERVER = b"truth_server"
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def _processes() -> Iterator[tuple[int, int, float]]:
    """Give each process with its parent and its CPU seconds, ended children's included."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(entry.name), int(fields[1]), sum(map(int, fields[11:15])) * _TICK_S


def _below(parent: int) -> float:
    """Add up the CPU seconds of the processes below one, the server's left out."""
    children: dict[int, list[int]] = {}
    cpu: dict[int, float] = {}
    for process, above, seconds in _processes():
        children.setdefault(above, []).append(process)
        cpu[process] = seconds
    total, left = 0.0, list(children.get(parent, ()))
    while left:
        process = left.pop()
        try:
            if _SERVER in Path(f"/proc/{process}/cmdline").read_bytes():
                continue
        except OSError:
            continue
        total += cpu[process]
        left += children.get(process, ())
    return total


class Sampler:
    """Samples from entry to exit."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._samples.append((time.monotonic(), _below(os.getpid())))

    def between(self, start: float, end: float) -> float:
        """Give the CPU seconds used between two moments (monotonic seconds)."""
        at, cpu = np.array(self._samples).T
        # A process that ends takes its own count with it until its parent has waited for it.
        cpu = np.maximum.accumulate(cpu)
        return float(np.interp(end, at, cpu) - np.interp(start, at, cpu))
