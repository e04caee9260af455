"""Bindings in the cluster go when every home namespace that they are for is gone; no others.

On a real cluster the same is shown in tests/e2e/test_cancel_gc.py.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CLUSTER_ROLE_BINDING, NAMESPACE, Kind, Object
from llmatrix.engines.tekton import gc
from llmatrix.engines.tekton.lost_homes import UNTOLD, lost_bindings
from llmatrix.engines.tekton.roles import SITES_ROLE, account_and_roles
from llmatrix.engines.tekton.unwanted import Seen, decide


def binding(
    *homes: str, role: str = SITES_ROLE, by: str = "llmatrix", **changed: Any
) -> dict[str, Any]:
    name = f"{role}-{'-'.join(homes)}"
    subjects = [{"kind": "ServiceAccount", "name": "llmatrix", "namespace": each} for each in homes]
    return {
        "metadata": {
            "name": name,
            "uid": f"uid of {name}",
            "labels": {"app.kubernetes.io/managed-by": by},
        },
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": subjects,
        **changed,
    }


class Standing:
    """A cluster in which only one namespace is left; what is asked and removed, in order."""

    def __init__(self, bindings: Sequence[Object], *refused: Kind) -> None:
        self.bindings = {each["metadata"]["name"]: each for each in bindings}
        self.refused = refused
        self.asked: list[Kind] = []

    def find(self, kind: Kind, *_: object) -> list[Object]:
        self.ask(kind)
        return list(self.bindings.values()) if kind is CLUSTER_ROLE_BINDING else []

    def find_metadata(self, *_: object) -> list[Object]:
        return []

    def metadata(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        assert namespace is None
        self.ask(kind)
        if kind is NAMESPACE:
            return {"name": name} if name == "bench" else None
        found = self.bindings.get(name)
        return None if found is None else found["metadata"]

    def delete(
        self, kind: Kind, name: str, namespace: str | None, *, uid: str, owned_first: bool
    ) -> bool:
        assert not owned_first
        assert (kind, namespace, uid) == (CLUSTER_ROLE_BINDING, None, f"uid of {name}")
        del self.bindings[name]
        return True

    def ask(self, kind: Kind) -> None:
        self.asked.append(kind)
        if kind in self.refused:
            raise Refused("not you")

    @property
    def cluster(self) -> Cluster:
        return cast("Cluster", self)


SOMEBODY = {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}


@pytest.mark.parametrize(
    ("one", "lost"),
    [
        (binding("gone"), True),
        (binding("gone", role=f"{SITES_ROLE}-llm-d"), True),
        (binding("gone", "lost"), True),
        (binding("bench"), False),
        (binding("gone", "bench"), False),
        (binding("gone", by="helm"), False),
        (binding("gone", by=""), False),
        (binding("gone", role="cluster-admin"), False),
        (binding("gone", role=f"{SITES_ROLE}x"), False),
        (binding("gone", roleRef={"kind": "Role", "name": SITES_ROLE}), False),
        (binding("gone", subjects=[SOMEBODY]), False),
        (binding("gone", subjects=[*binding("gone")["subjects"], SOMEBODY]), False),
        (binding("gone", subjects=None), False),
    ],
)
def test_which_are_lost(one: Object, lost: bool) -> None:  # noqa: FBT001
    found, untold = lost_bindings(Standing([one]).cluster)
    assert (found == [one], untold) == (lost, "")


def test_those_that_the_engine_makes_are_recognised(plan_of: Any, settings_of: Any) -> None:
    stack = {"kind": "llm-d", "gateway": {"mode": "none"}, "server": {"simulated": True}}
    settings = settings_of(plan_of(stack=stack), namespace="elsewhere")
    made = [
        each for each in account_and_roles(settings) if each["kind"] == CLUSTER_ROLE_BINDING.name
    ]
    assert len(made) == 2
    assert lost_bindings(Standing(made).cluster)[0] == made


def test_they_are_listed_and_removed_with_the_rest() -> None:
    standing = Standing([binding("gone"), binding("bench")])
    seen, unseen = gc.look(standing.cluster, "bench")
    assert unseen == ()
    decision = decide(seen, 0.0)
    assert [(each.told, each.why) for each in decision.remove] == [
        ("ClusterRoleBinding llmatrix-sites-gone", "its home namespace is gone")
    ]
    said: list[str] = []
    stop = threading.Event()
    assert gc.carry_out(standing.cluster, "bench", decision, say=said.append, stop=stop) == []
    assert list(standing.bindings) == ["llmatrix-sites-bench"]
    assert said == ["removed ClusterRoleBinding llmatrix-sites-gone: its home namespace is gone"]


def test_they_are_of_no_experiment() -> None:
    standing = Standing([binding("gone")])
    gc.look(standing.cluster, "bench", "e")
    assert CLUSTER_ROLE_BINDING not in standing.asked
    assert decide(Seen([], [], bindings=[binding("gone")]), 0.0, "e").remove == ()


@pytest.mark.parametrize("refused", [CLUSTER_ROLE_BINDING, NAMESPACE])
def test_who_may_not_look_is_told_in_one_sentence_and_the_rest_is_seen(refused: Kind) -> None:
    seen, unseen = gc.look(Standing([binding("gone")], refused).cluster, "bench")
    assert seen.bindings == []
    assert unseen[-1] == UNTOLD
    assert sum("ClusterRoleBinding" in each for each in unseen) == 1
