"""A trial: a treatment, a replicate, and the keys of what it wants to stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Treatment


@dataclass(frozen=True, slots=True, order=True)
class Replicate:
    """Which repetition: of the whole deployment, and of the workload on it; both from 0."""

    deployment: int = 0
    workload: int = 0

    def document(self) -> dict[str, int]:
        """Give it as plain data, for records."""
        return {"deployment": self.deployment, "workload": self.workload}


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
