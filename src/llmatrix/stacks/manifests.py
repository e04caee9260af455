"""What a treatment's stack would make on a Kubernetes site, to be read before anything is made."""

from __future__ import annotations

from llmatrix.cluster.kinds import Object
from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stacks import SimulatedStack
from llmatrix.stacks import simulated_objects
from llmatrix.stacks.kubernetes_objects import placed
from llmatrix.stacks.llmd import layers
from llmatrix.stacks.site_address import SiteAddress


def of(treatment: Treatment, address: SiteAddress) -> dict[Step, list[Object]]:
    """Give the objects of each layer as they would be applied; of other kinds of stack, none."""
    stack = treatment.stack
    found: dict[Step, list[Object]] = {}
    if isinstance(stack, LlmdStack):
        steps = (Step.SERVER,) if stack.gateway.mode == "none" else layers.BRINGABLE
        found = {step: layers.objects(step, treatment, address) for step in steps}
    elif isinstance(stack, SimulatedStack):
        found = {
            Step.ROUTER: simulated_objects.router(treatment, address),
            Step.SERVER: simulated_objects.servers(treatment, address),
        }
    return {
        step: [placed(address, step, each) for each in objects]
        for step, objects in found.items()
        if objects
    }
