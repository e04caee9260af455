"""Whether the nodes have the accelerators that an experiment's stacks hold, stack by stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmatrix.cluster import facts
from llmatrix.cluster.facts import Node
from llmatrix.engines.tekton.doctor import Answer, Asked, ok, warning, wrong
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stacks import Stack
from llmatrix.stacks.llmd import names


@dataclass(frozen=True, slots=True)
class Wanted:
    """The accelerators that one deployment takes.

    Attributes:
        resource: by which nodes offer them.
        pods: number and accelerators of its pods, by role.
        on: labels that their nodes must have, by role.
    """

    resource: str
    pods: tuple[tuple[int, int], ...]
    on: tuple[frozenset[tuple[str, str]], ...]

    @property
    def shape(self) -> str:
        """It in words: ``2 × 4 + 1 × 8 nvidia.com/gpu``."""
        told = [f"{count} × {each}" if count > 1 else f"{each}" for count, each in self.pods]
        return f"{' + '.join(told)} {self.resource}"


def room(asked: Asked) -> Iterator[Answer]:
    """Ask whether the nodes have the accelerators that each of the stacks holds."""
    assert asked.plan is not None  # noqa: S101 - asked with a file only
    stacks = [treatment.stack for treatment in asked.plan.distinct_stacks()]
    real = [stack for stack in stacks if not _is_simulated(stack) and stack.kind != "endpoint"]
    if not real:
        yield ok("accelerators", "none are needed: what serves is simulated or elsewhere")
        return
    every = dict.fromkeys(wanted(stack) for stack in real if stack.accelerators)
    if not every:
        yield ok("accelerators", "none are needed: the servers run on CPUs")
        return
    nodes = facts.nodes(asked.cluster)
    for each in every:
        yield from room_for(each, nodes, asked.plan.experiment.run.parallelism)


def wanted(stack: Stack) -> Wanted:
    """Give the accelerators that a deployment of a stack takes."""
    if not isinstance(stack, LlmdStack):
        return Wanted(names.resource(""), ((1, stack.accelerators),), (frozenset(),))
    server, prefill = stack.server, stack.server.prefill
    on = [frozenset(server.node_selector.items())]
    if prefill is not None:
        on.append(frozenset({**server.node_selector, **prefill.node_selector}.items()))
    return Wanted(names.resource(stack.accelerator), stack.pods, tuple(on))


def _is_simulated(stack: Stack) -> bool:
    return stack.kind == "simulated" or (isinstance(stack, LlmdStack) and stack.server.simulated)


def room_for(each: Wanted, nodes: Sequence[Node], parallelism: int) -> Iterator[Answer]:
    """Judge whether so many deployments side by side fit on the nodes."""
    about, shape = "accelerators", each.shape
    there = _fit(each, [(node, node.accelerators.get(each.resource, 0)) for node in nodes], 1)
    fit = _fit(each, [(node, node.free.get(each.resource, 0)) for node in nodes], parallelism)
    if not there:
        has = [node.accelerators.get(each.resource, 0) for node in nodes]
        labels = sorted({f"{key}={value}" for on in each.on for key, value in on})
        only = f"; it takes nodes with {', '.join(labels)}" if labels else ""
        yield wrong(
            about,
            f"one deployment takes {shape}; the nodes have {sum(has)} in all, at most "
            f"{max(has, default=0)} on one{only}",
            "kubectl get nodes -o custom-columns=NODE:.metadata.name,HAS:.status.allocatable",
        )
    elif not fit:
        free = sum(node.free.get(each.resource, 0) for node in nodes)
        yield warning(about, f"one deployment takes {shape}; {free} are free now: it waits")
    elif fit < parallelism:
        yield warning(
            about,
            f"run.parallelism is {parallelism}; of deployments of {shape}, {fit} fit now, and the "
            f"others wait",
        )
    else:
        yield ok(about, f"enough free for {parallelism} × {shape}")


def _fit(each: Wanted, nodes: Sequence[tuple[Node, int]], most: int) -> int:
    """Count deployments that fit; roles that take other nodes are counted by themselves."""
    roles: dict[frozenset[tuple[str, str]], list[int]] = {}
    for on, (count, size) in zip(each.on, each.pods, strict=True):
        roles.setdefault(on, []).extend([size] * count)
    return min(
        facts.deployments([n for node, n in nodes if on <= node.labels.items()], pods, most)
        for on, pods in roles.items()
    )
