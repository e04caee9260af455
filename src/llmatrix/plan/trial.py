"""A trial: a treatment, a replicate, and the keys of what it wants to stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Treatment


@dataclass(frozen=True, slots=True, order=True)
class Replicate:
    """Which repetition: of the whole deployment, and of the workload on it; both from 0.

    ``control`` counts the control trials on a deployment from 1; 0 is none of them.
    """

    deployment: int = 0
    workload: int = 0
    control: int = 0

    @property
    def name(self) -> str:
        """Name it as plans do, from 1: ``2.1``, or ``2.c3`` for the third control trial."""
        which = f"c{self.control}" if self.control else str(self.workload + 1)
        return f"{self.deployment + 1}.{which}"

    def document(self) -> dict[str, int]:
        """Give it as plain data, for records."""
        counted = {"deployment": self.deployment, "workload": self.workload}
        return counted | ({"control": self.control} if self.control else {})


@dataclass(frozen=True, slots=True)
class Trial:
    """The unit that is run, retried, resumed and recorded.

    Attributes:
        id: hash of the resolved document, 20 hexadecimal digits.
        experiment: name of the experiment; the folder of its records.
        levels: factor path to the label of its level here, in the file's order.
        treatment: the resolved document.
        replicate: which repetition.
        versions: what measures, by part (``harness``, ``stack``), as in the id.
        keys: for each step, the key that it wants to stand.
        traffic_seed: seed of prompts and arrivals; the same for every stack, so that treatments
            that differ in their stack see the same traffic; another for each replicate.
        estimate_s: seconds that the workload is expected to take.
    """

    id: str
    experiment: str
    levels: Mapping[str, str]
    treatment: Treatment
    replicate: Replicate
    versions: Mapping[str, str]
    keys: Mapping[Step, str]
    traffic_seed: int
    estimate_s: float
