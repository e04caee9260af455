"""The classes of gateways that an experiment names, looked at before anything is made."""

from __future__ import annotations

from collections.abc import Iterator

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.engines.tekton.doctor import Answer, Asked, ok, wrong
from llmatrix.errors import EnvironmentFault
from llmatrix.plan.build import Plan
from llmatrix.spec.llmd import LlmdGateway, LlmdStack
from llmatrix.stacks.llmd.gateway_class import unfit


def wanted(plan: Plan) -> list[LlmdGateway]:
    """Give the gateway layers that need a class, one for each class and way of support."""
    found: dict[tuple[str | None, str], LlmdGateway] = {}
    for treatment in plan.distinct_stacks():
        stack = treatment.stack
        if isinstance(stack, LlmdStack) and stack.gateway.mode == "gateway":
            found.setdefault((stack.gateway.class_name, stack.gateway.support), stack.gateway)
    return list(found.values())


def check(cluster: Cluster, plan: Plan) -> None:
    """Refuse a plan whose gateways the cluster cannot make; nothing has been created.

    Raises:
        EnvironmentFault: it cannot; each reason, and what mends it.
    """
    told = []
    for layer in wanted(plan):
        try:
            told += [f"{each.told}; mend: {each.mend}" for each in unfit(cluster, layer)]
        except Refused:
            continue  # the account of the steps may make Gateways all the same
    if told:
        raise EnvironmentFault("\n".join(told))


def question(asked: Asked) -> Iterator[Answer]:
    """Ask whether the classes of gateways are there, and do what is wanted of them."""
    assert asked.plan is not None  # noqa: S101 - asked with a file only
    for layer in wanted(asked.plan):
        faults = list(unfit(asked.cluster, layer))
        for each in faults:
            yield wrong("gateway", each.told, each.mend)
        if not faults:
            yield ok("gateway", f"GatewayClass {layer.class_name}, support {layer.support}")
