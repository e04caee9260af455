"""What doctor makes of what it finds; the finding itself is tested on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.facts import GATEWAY, INFERENCE_POOL, Node
from llmatrix.cluster.faults import ClusterFault, Refused, Unreachable
from llmatrix.cluster.kinds import LEADER_WORKER_SET
from llmatrix.engines.tekton.doctor import Answer, Asked, Verdict, examine, ok
from llmatrix.engines.tekton.doctor_accelerators import Wanted, room_for, wanted
from llmatrix.engines.tekton.doctor_cluster import flag
from llmatrix.engines.tekton.doctor_experiment import made_of, served
from llmatrix.spec.llmd import LlmdGateway, LlmdStack

GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("there", "free", "deployment", "parallelism", "verdict", "told"),
    [
        ([8], [8], (1, 8), 1, Verdict.OK, "enough free for 1 × 8"),
        ([4, 4], [4, 4], (1, 8), 1, Verdict.WRONG, "at most 4 on one"),
        ([4, 4], [4, 4], (2, 4), 1, Verdict.OK, "enough free for 1 × 2 × 4"),
        ([], [], (1, 1), 1, Verdict.WRONG, "the nodes have 0 in all, at most 0"),
        ([8], [7], (1, 8), 1, Verdict.WARNING, "7 are free now: it waits"),
        (
            [8, 8],
            [8, 8],
            (1, 8),
            4,
            Verdict.WARNING,
            "2 fit now",
        ),
        ([8, 8], [8, 7], (1, 8), 2, Verdict.WARNING, "1 fit now"),
    ],
)
def test_accelerators_for_deployments(
    there: list[int],
    free: list[int],
    deployment: tuple[int, int],
    parallelism: int,
    verdict: Verdict,
    told: str,
) -> None:
    nodes = [
        Node(f"n{n}", {GPU: a}, {GPU: b}) for n, (a, b) in enumerate(zip(there, free, strict=True))
    ]
    (answer,) = room_for(Wanted(GPU, (deployment,), (frozenset(),)), nodes, parallelism)
    assert answer.verdict is verdict
    assert told in answer.told


def llmd(**server: Any) -> LlmdStack:
    return LlmdStack.model_validate(
        {"kind": "llm-d", "gateway": {"mode": "none"}, "server": {"image": "v:1", **server}}
    )


def test_both_roles_of_a_deployment_are_counted_on_the_nodes_that_they_take() -> None:
    on = {"gpu": "h100"}
    both = llmd(replicas=2, tensor_parallel=4, prefill={"replicas": 2}, node_selector=on)
    assert wanted(both).shape == "2 × 4 + 2 × 1 nvidia.com/gpu"
    has = {GPU: 8}
    (told,) = room_for(wanted(both), [Node("a", has, has, on), Node("b", has, has)], 1)
    assert told.verdict is Verdict.WRONG
    assert told.told.endswith("it takes nodes with gpu=h100")
    (told,) = room_for(wanted(both), [Node("a", has, has, on), Node("b", has, has, on)], 2)
    assert (told.verdict, "1 fit now" in told.told) == (Verdict.WARNING, True)


def test_servers_of_several_nodes_take_leader_worker_sets() -> None:
    wide = llmd(nodes=2, tensor_parallel=8, pipeline_parallel=2)
    assert wanted(wide).pods == ((2, 8),)
    assert made_of(wide) == {LEADER_WORKER_SET}
    assert made_of(llmd()) == set()
    picked = llmd().model_copy(update={"gateway": LlmdGateway()})
    assert made_of(picked) == {INFERENCE_POOL}


@pytest.mark.parametrize("kind", [GATEWAY, INFERENCE_POOL, LEADER_WORKER_SET])
def test_a_kind_that_the_cluster_does_not_know_is_wrong_with_its_command(kind: Any) -> None:
    (answer,) = served(kind, there=False)
    assert answer.verdict is Verdict.WRONG
    assert kind.name in answer.told
    assert answer.mend.startswith("kubectl apply")
    assert next(served(kind, there=True)).verdict is Verdict.OK


def asked(*, openshift: bool = False) -> Asked:
    return Asked(cast("Cluster", None), "bench", None, openshift)


def raising(error: Exception) -> Any:
    def question(_: Asked) -> Iterator[Answer]:
        raise error
        yield

    return question


def fine(_: Asked) -> Iterator[Answer]:
    yield ok("next", "fine")


def test_a_question_that_may_not_be_asked_is_a_warning_and_the_next_is_asked() -> None:
    questions = [("nodes", raising(Refused("cannot list nodes"))), ("next", fine)]
    first, second = examine(asked(), questions)
    assert (first.about, first.verdict) == ("nodes", Verdict.WARNING)
    assert first.told == "cannot be told: cannot list nodes"
    assert second.verdict is Verdict.OK


def test_a_question_that_fails_is_wrong() -> None:
    (first, _) = examine(asked(), [("x", raising(ClusterFault("broken"))), ("next", fine)])
    assert (first.verdict, first.told) == (Verdict.WRONG, "broken")


def test_nothing_more_is_asked_of_a_cluster_that_has_gone() -> None:
    (first,) = examine(asked(), [("x", raising(Unreachable("no answer"))), ("next", fine)])
    assert (first.verdict, first.mend) == (Verdict.WRONG, "kubectl cluster-info")


def test_a_flag_is_set_where_it_is_kept() -> None:
    assert flag(asked(), "coschedule", "disabled") == (
        "kubectl patch configmap feature-flags -n tekton-pipelines --type merge -p "
        """'{"data":{"coschedule":"disabled"}}'"""
    )
    assert flag(asked(openshift=True), "coschedule", "disabled") == (
        "oc patch tektonconfig config --type merge -p "
        """'{"spec":{"pipeline":{"coschedule":"disabled"}}}'"""
    )
    assert '"set-security-context":true' in flag(
        asked(openshift=True), "set-security-context", "true"
    )
