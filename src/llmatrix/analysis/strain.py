"""Why a sender could not keep up: what it, the machine or the host did with the cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmatrix.analysis.checks import Check, Verdict, unknown

CLIENT_CPU: Final = 0.8
CPU_WAIT: Final = 0.2
_STEAL: Final = 0.1
_THROTTLED: Final = 0.05
_BUSY: Final = 0.6
_WAITED: Final = 0.05
"""Alone on its core a sender waits less: where something was late, this is why."""


@dataclass(frozen=True, slots=True)
class Strain:
    """What the senders of a trial saw of themselves, the worst of them; None where nobody could.

    Attributes:
        cpu: CPU seconds per second of the busiest process.
        cpu_wait: largest share of the window in which one was ready to run and had no core.
        steal: CPU seconds per second that the host gave to others.
        throttled: largest share of the window in which a control group was held back.
        cores: on which a process may run.
        shards: sending processes.
    """

    cpu: float | None = None
    cpu_wait: float | None = None
    steal: float | None = None
    throttled: float | None = None
    cores: int | None = None
    shards: int = 1

    @property
    def cause(self) -> str:
        """Name what held the sender up and what to change; empty where nothing stands out."""
        if (self.throttled or 0.0) > _THROTTLED:
            return (
                f"the load generator's control group was held back for its CPU quota in "
                f"{self.throttled:.0%} of the window: raise its CPU limit"
            )
        if (self.steal or 0.0) > _STEAL:
            return (
                f"the host took {self.steal:.2g} of this machine's cores for others (steal): "
                "measure from a machine that nobody shares"
            )
        if (self.cpu_wait or 0.0) > _WAITED:
            cores = "one core" if self.cores == 1 else f"{self.cores} cores"
            return (
                f"the load generator was ready to run and had no core in {self.cpu_wait:.0%} of "
                f"the window, with {cores} to run on: give it a core of its own, or stop what "
                "else runs there"
            )
        if (self.cpu or 0.0) > _BUSY:
            return f"one of its processes used {self.cpu:.0%} of a core: {self.more_shards}"
        return ""

    @property
    def more_shards(self) -> str:
        """Say how to spread the load over more processes, or to lower it."""
        if self.cores is not None and self.cores <= self.shards:
            return "lower the load, stream fewer tokens, or send from a machine of more cores"
        return f"set workload.shards: {2 * self.shards}, or lower the load"

    def advise(self, otherwise: str) -> str:
        """Give the cause, or what to change where none stands out."""
        return self.cause or otherwise


def client_cpu(strain: Strain) -> Check:
    """Work waits in a single-threaded sender as in any queue: at 0.8 for 4 services (M/M/1)."""
    name, limit = "client_cpu", f"<= {CLIENT_CPU:g} of a core for each sending process"
    if strain.cpu is None:
        return unknown(name, limit, "the harness does not tell its CPU time")
    if strain.cpu <= CLIENT_CPU:
        return Check(name, strain.cpu, limit, Verdict.PASS)
    advice = f"the load generator is saturated: {strain.more_shards}"
    return Check(name, strain.cpu, limit, Verdict.FAIL, advice)


def cpu_wait(strain: Strain) -> list[Check]:
    """Share of the window in which the sender could have run and did not; none if nobody knows.

    While it waits, every arrival is stamped late. Alone on a core it waits for 1 to 5% of the
    window; beside a busy loop on the same core for 28% and more, and the median TTFT of a server
    of 50 ms is 6 ms off (``benchmarks/loadgen/starved.py``).
    """
    if strain.cpu_wait is None:
        return []
    name, limit = "client_cpu_wait", f"<= {CPU_WAIT:g} of the window"
    if strain.cpu_wait <= CPU_WAIT:
        return [Check(name, strain.cpu_wait, limit, Verdict.PASS)]
    return [Check(name, strain.cpu_wait, limit, Verdict.FAIL, strain.cause)]
