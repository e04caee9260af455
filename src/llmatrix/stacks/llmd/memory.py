"""What a picker remembers of earlier trials, and whether it can bear on the next one.

A real picker cannot be told to forget. One that knows prompts by their beginnings need not: each
trial's prompts are made from its own seed, so what it remembers of others is never found, and its
index gives up the oldest entries first. Only a trial whose prompts it has met needs it new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.workloads import DatasetWorkload
from llmatrix.stacks.site_state import Change, SiteState

_MET: Final = "met.router"
"""Entry of the site's record."""
_MOST: Final = 2000
"""Trials that are kept on record; after so many a picker is started anew."""


class Memory(StrEnum):
    """What a configuration's plugins keep of the requests that they saw."""

    NOTHING = "nothing"
    PROMPTS = "prompts"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Met:
    """The prompts that a picker has met.

    Attributes:
        picker: uids of its pods, in order; another picker has met nothing.
        prompts: of each trial that was sent through it, what its prompts were made from.
    """

    picker: tuple[str, ...]
    prompts: tuple[str, ...] = ()

    @classmethod
    def of(cls, state: SiteState) -> Self:
        """Read what the picker that stands has met."""
        picker = tuple(sorted(each.uid for each in state.standing(Step.ROUTER).values()))
        found = json.loads(state.data.get(_MET, "{}"))
        known = found.get("picker") == list(picker)
        return cls(picker, tuple(found["prompts"]) if known else ())

    def and_also(self, trial: Trial) -> Change:
        """Put a trial's prompts on the site's record, before they are sent."""
        met = [*self.prompts, prompts(trial)]
        return {_MET: json.dumps({"picker": self.picker, "prompts": met})}


def prompts(trial: Trial) -> str:
    """Tell prompts apart: made from the same seed, or read from the same file, they are alike."""
    workload = trial.treatment.workload
    if isinstance(workload, DatasetWorkload):
        return workload.dataset.sha256[:16]
    return f"{trial.traffic_seed:x}"


def why_anew(memory: Memory, met: Met, trial: Trial, changed: Iterable[Step]) -> str:
    """Say why a picker must be started anew; "" if it need not."""
    if memory is Memory.NOTHING or not met.prompts:
        return ""
    if memory is Memory.MORE:
        return "it remembered more of earlier trials than their prompts"
    if Step.SERVER in changed:
        return "the servers are new"
    if prompts(trial) in met.prompts:
        return "it had met these prompts"
    return "it had met very many prompts" if len(met.prompts) >= _MOST else ""
