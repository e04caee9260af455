"""The objects of each layer of an llm-d stack, whether a preset makes it or the user brings it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from llmatrix.cluster.kinds import Object
from llmatrix.plan.step import Step
from llmatrix.spec.charts import Brought, Rendered
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks import carried
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd import brought, gateway, manifest_set, picker_config, router, server
from llmatrix.stacks.llmd.checks import section
from llmatrix.stacks.llmd.memory import Memory
from llmatrix.stacks.site_address import SiteAddress

BRINGABLE: Final = (Step.GATEWAY, Step.ROUTER, Step.SERVER)
"""Steps whose layer the user may bring."""
TextOf = Callable[[Rendered], str]
"""Gives the set that a layer renders to."""


def layer(stack: LlmdStack, step: Step) -> Brought:
    """Give the section of a step that can be brought."""
    sections: dict[Step, Brought] = {
        Step.GATEWAY: stack.gateway,
        Step.ROUTER: stack.router,
        Step.SERVER: stack.server,
    }
    return sections[step]


def rendered_here(rendered: Rendered) -> str:
    """Give a set on the machine where it was rendered."""
    return rendered.text


def objects(
    step: Step, treatment: Treatment, address: SiteAddress, text_of: TextOf = rendered_here
) -> list[Object]:
    """Give the objects of a step that can be brought.

    Raises:
        NoFront: none of what is brought can be what others speak to.
    """
    stack = section(treatment)
    found = layer(stack, step)
    if found.rendered is not None:
        return brought.objects(found, text_of(found.rendered), step, address)
    if step is Step.GATEWAY:
        return gateway.objects(stack.gateway, address)
    if step is Step.ROUTER:
        return router.objects(stack.router, address)
    return server.objects(treatment, address)


def on(site: KubernetesSite) -> TextOf:
    """Give what finds sets where the steps run: here, or in ConfigMaps beside the PipelineRuns."""
    return lambda rendered: rendered.text or _carried(site, rendered)


def pods(stack: LlmdStack, step: Step, made: list[Object]) -> int:
    """Count the pods that a step must bring up."""
    if layer(stack, step).rendered is not None:
        return sum(map(manifest_set.pods, made))
    return sum(count for count, _ in stack.pods) if step is Step.SERVER else 1


def memory(stack: LlmdStack, text_of: TextOf) -> Memory:
    """Tell what the picker keeps of earlier requests; one not known may keep anything."""
    if stack.router.rendered is None:
        config = stack.router.config
        return Memory.NOTHING if config is None else picker_config.memory(config)
    config = brought.picker_config(json.loads(text_of(stack.router.rendered)))
    return Memory.MORE if config is None else picker_config.memory(config)


def reads(stack: LlmdStack, text_of: TextOf) -> list[str]:
    """Give the names of the servers' metrics that the picker's scorers go by, as far as known."""
    if stack.router.rendered is None:
        return router.reads(stack.router)
    return brought.reads(json.loads(text_of(stack.router.rendered)))


def _carried(site: KubernetesSite, rendered: Rendered) -> str:
    what = "the manifests of this trial"
    return carried.content(site.cluster, site.address, rendered.sha256, what).decode()
