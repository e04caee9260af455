"""Which rights the account of the steps is given, when it stands and when it does not."""

from __future__ import annotations

from typing import cast

import pytest

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CLUSTER_ROLE, Kind, Object, known
from llmatrix.engines.tekton import roles
from llmatrix.engines.tekton.settings import Settings
from llmatrix.engines.tekton.submit import ensure_account

Name = tuple[str, str]


class Objects:
    """A cluster that has these objects, and may refuse to tell of or to take some kinds."""

    def __init__(self, *there: Object, hidden: str = "", guarded: str = "") -> None:
        self.there = {_name(each): each for each in there}
        self.hidden, self.guarded = hidden, guarded
        self.applied: list[Name] = []

    def kind_of(self, document: Object) -> Kind:
        kind = known(document)
        assert kind is not None
        return kind

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        del namespace
        if kind.name == self.hidden:
            raise Refused("may not get", status=403, reason="Forbidden")
        return self.there.get((kind.name, name))

    def apply(self, document: Object) -> None:
        if document["kind"] == self.guarded:
            raise Refused("may not patch", status=403, reason="Forbidden")
        self.applied.append(_name(document))

    def ensure(self, settings: Settings) -> list[Name]:
        ensure_account(cast("Cluster", self), settings, roles.account_and_roles(settings))
        return self.applied


def _name(document: Object) -> Name:
    return document["kind"], document["metadata"]["name"]


def settings(*kinds: str) -> Settings:
    return Settings(
        namespace="bench",
        namespaced=False,
        image="reg/llmatrix:1",
        pull_policy="IfNotPresent",
        account="llmatrix",
        env={},
        store="s3://bucket",
        claim=None,
        cpu="1",
        memory="1Gi",
        queue=None,
        retries=0,
        fresh=False,
        parallelism=1,
        keeps_s=60.0,
        kinds=frozenset(kinds),
    )


def made(*kinds: str) -> list[Object]:
    return roles.account_and_roles(settings(*kinds))


def test_all_is_made_where_there_is_no_account() -> None:
    wanted = [_name(each) for each in made("simulated")]
    assert Objects().ensure(settings("simulated")) == wanted
    with pytest.raises(Refused, match=r"ask an administrator to apply roles\.yaml"):
        Objects(guarded=CLUSTER_ROLE.name).ensure(settings("simulated"))


def test_an_account_that_stands_is_given_what_another_kind_of_stack_needs() -> None:
    assert Objects(*made("simulated")).ensure(settings("simulated")) == []
    added = Objects(*made("simulated")).ensure(settings("simulated", "llm-d"))
    before = {_name(each) for each in made("simulated")}
    assert added == [_name(e) for e in made("simulated", "llm-d") if _name(e) not in before]
    assert ("ClusterRole", "llmatrix-sites-llm-d") in added


def test_a_role_of_an_older_release_is_renewed_and_a_foreign_one_is_left() -> None:
    old, foreign = made("simulated"), made("simulated")
    for each in old:
        each["metadata"]["annotations"][labels.SPEC] = "old"
    assert Objects(*old).ensure(settings("simulated")) == [_name(each) for each in old]
    for each in foreign:
        each["metadata"]["labels"] = {}
        each["metadata"]["annotations"] = {}
    assert Objects(*foreign).ensure(settings("simulated")) == []


@pytest.mark.parametrize("may_not", [{"hidden": "ClusterRole"}, {"guarded": "ClusterRole"}])
def test_what_we_may_not_give_an_account_that_stands_is_left_to_its_maker(
    may_not: dict[str, str],
) -> None:
    added = Objects(*made("simulated"), **may_not).ensure(settings("llm-d"))
    assert ("ClusterRole", "llmatrix-sites-llm-d") not in added
    assert ("ClusterRoleBinding", "llmatrix-sites-bench-llmatrix-llm-d") in added
