"""What a site on Kubernetes has on record, from one process to the next."""

from __future__ import annotations

from typing import Any

from llmatrix.cluster.kinds import LEASE, Kind
from llmatrix.plan.step import Step
from llmatrix.stacks.site_state import (
    Change,
    Reference,
    SiteState,
    Stood,
    with_applied,
    with_key,
    with_kinds,
    with_standing,
)


def merged(*changes: Change) -> SiteState:
    """Do what a merge patch does with the data of a ConfigMap."""
    data: dict[str, str] = {}
    for change in changes:
        for name, value in change.items():
            if value is None:
                data.pop(name, None)
            else:
                data[name] = value
    return SiteState(data)


def pod(name: str, uid: str, restarts: int = 0) -> dict[str, Any]:
    statuses = [{"name": "c", "restartCount": restarts}]
    return {
        "metadata": {"name": name, "uid": uid},
        "status": {"podIP": "10.0.0.1", "containerStatuses": statuses},
    }


def test_nothing_is_on_record_at_first() -> None:
    state = SiteState({}, there=False)
    assert state.key(Step.SERVER) is None
    assert state.applied(Step.SERVER) == []
    assert state.standing(Step.SERVER) == {}
    assert state.kinds() == []


def test_keys_are_set_and_taken_back_one_by_one() -> None:
    state = merged(with_key(Step.SERVER, "a"), with_key(Step.ROUTER, "b"))
    assert (state.key(Step.SERVER), state.key(Step.ROUTER)) == ("a", "b")
    state = merged(state.data, with_key(Step.ROUTER, None))  # type: ignore[arg-type]
    assert (state.key(Step.SERVER), state.key(Step.ROUTER)) == ("a", None)


def test_what_was_applied_is_in_order_and_once() -> None:
    one, two = Reference("v1", "Service", "a"), Reference("apps/v1", "Deployment", "a")
    state = merged(with_applied(Step.ROUTER, [one, two, one]))
    assert state.applied(Step.ROUTER) == [two, one]
    assert merged(with_applied(Step.ROUTER, [one]), with_applied(Step.ROUTER, [])).data == {}
    assert Reference.to({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}) == one


def test_pods_are_on_record_as_they_stood() -> None:
    state = merged(with_standing(Step.SERVER, [pod("s-0", "u0"), pod("s-1", "u1", restarts=2)]))
    assert state.standing(Step.SERVER) == {
        "s-0": Stood("u0", 0, "10.0.0.1"),
        "s-1": Stood("u1", 2, "10.0.0.1"),
    }
    assert with_standing(Step.SERVER, []) == {"standing.server": None}


def test_other_kinds_come_back_whole() -> None:
    pool = Kind("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
    assert set(merged(with_kinds([pool, LEASE, pool])).kinds()) == {pool, LEASE}
    assert with_kinds([]) == {"kinds": None}
