"""The key of each step: the hash of what its outcome depends on (design, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmatrix.plan.digest import digest, document_digest
from llmatrix.plan.step import STACK_STEPS, STANDS_ON, Step
from llmatrix.spec.experiment import Model
from llmatrix.spec.stacks import Stack

_SERVED_MODEL: Final = frozenset({"name"})
"""What of the model section the served model depends on; the rest shapes prompts."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What stands for a trial, apart from its workload.

    Attributes:
        keys: of the five steps that stand on a site.
        block: identifies the deployment without its front: trials of one block share servers.
        kind: of the stack.
        owned: the steps that the stack's kind does itself; the others are skipped.
        accelerators: that it holds while it stands.
    """

    keys: Mapping[Step, str]
    block: str
    kind: str
    owned: frozenset[Step]
    accelerators: int

    @property
    def front(self) -> str:
        """Identify what stands before the servers: gateway and router."""
        return self.keys[Step.ROUTER]


def owned_steps(stack: Stack) -> frozenset[Step]:
    """Tell which steps a kind of stack does itself."""
    return frozenset(Step(layer) for layer in stack.LAYERS)


def deployment(
    experiment: str, model: Model, stack: Stack, *, stack_version: str, repetition: int
) -> Deployment:
    """Compute the keys of everything that a trial wants to stand.

    ``repetition`` counts deployments of the same stack (``replicates.deployments``): each is made
    anew, so it is in the server's key.
    """
    own: dict[Step, tuple[str, ...]] = {
        Step.NAMESPACE: (experiment, stack.kind),
        Step.MODEL: (document_digest(model, _SERVED_MODEL),),
        Step.SERVER: (stack.kind, stack_version, str(repetition)),
        Step.ROUTER: (stack.kind, stack_version),
    }
    keys: dict[Step, str] = {}
    for step in STACK_STEPS:
        fields = stack.LAYERS.get(step.value, frozenset())  # type: ignore[call-overload]
        below = (keys[other] for other in STANDS_ON[step])
        keys[step] = digest(step, document_digest(stack, fields), *own.get(step, ()), *below)
    block = digest(*(keys[step] for step in (Step.NAMESPACE, Step.MODEL, Step.SERVER)))
    return Deployment(keys, block, stack.kind, owned_steps(stack), stack.accelerators)


def transition(standing: Deployment | None, wanted: Deployment) -> list[Step]:
    """Give the steps that must be applied to come from what stands to what is wanted."""
    return [
        step
        for step in STACK_STEPS
        if step in wanted.owned and (standing is None or standing.keys[step] != wanted.keys[step])
    ]


def trial_keys(standing: Mapping[Step, str], trial_id: str, *, fresh: bool) -> dict[Step, str]:
    """Give all eight keys of a trial.

    With ``fresh`` the site itself is the trial's own, so nothing that stands is ever wanted.
    """
    keys = {step: digest(key, trial_id) if fresh else key for step, key in standing.items()}
    return keys | {
        Step.WORKLOAD: trial_id,
        Step.UPLOAD: trial_id,
        Step.TEARDOWN: keys[Step.NAMESPACE],
    }
