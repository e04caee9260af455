"""What our account may do: asked of the API server, verb by verb, before anything is done.

(SelfSubjectAccessReview and SelfSubjectReview; Kubernetes, "Authorization: checking API access".
Every account may ask about itself.)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import orjson

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import Kind, Object

_AT_ONCE: Final = 8
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_REVIEWS_OF_OTHERS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_SELF: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource.

    Attributes:
        verb: as RBAC names it (``create``).
        group: of the resource; "" for the core.
        resource: plural, with its subresource (``pods/log``).
        namespace: in which; "" for the whole cluster.
        name: of the one object that it is about; "" for all.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def qualified(self) -> str:
        """The resource as kubectl names it: ``pods``, ``pipelineruns.tekton.dev``."""
        plural, slash, below = self.resource.partition("/")
        return f"{plural}.{self.group}{slash}{below}" if self.group else self.resource

    def __str__(self) -> str:
        """Say it in words: ``create pipelineruns.tekton.dev in namespace bench``."""
        where = f"in namespace {self.namespace}" if self.namespace else "in the cluster"
        which = f" '{self.name}'" if self.name else ""
        return f"{self.verb} {self.qualified}{which} {where}"


def rights(kind: Kind, verbs: str, namespace: str = "", below: str = "") -> list[Right]:
    """Give the rights to do each of the ``verbs`` (parted by spaces) with a kind of objects."""
    resource = f"{kind.plural}/{below}" if below else kind.plural
    where = namespace if kind.namespaced else ""
    return [Right(verb, kind.group, resource, where) for verb in verbs.split()]


def rights_of(rules: Iterable[Mapping[str, Any]], namespace: str = "") -> list[Right]:
    """Give the rights that the ``rules`` of a Role or ClusterRole grant, in a namespace or all."""
    return [
        Right(verb, group, resource, namespace, name)
        for rule in rules
        for group in rule.get("apiGroups", ("",))
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or ("",)
    ]


def denied(cluster: Cluster, wanted: Iterable[Right], account: str | None = None) -> list[Right]:
    """Give those of the rights that we do not have; or that another account does not have.

    Args:
        cluster: where.
        wanted: each is asked about once.
        account: user name (``system:serviceaccount:NAMESPACE:NAME``); to ask about another takes
            the right to create subjectaccessreviews.

    Raises:
        Refused: we may not ask about others.
    """
    every = list(dict.fromkeys(wanted))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        allowed = list(pool.map(lambda right: _allowed(cluster, right, account), every))
    return [right for right, yes in zip(every, allowed, strict=True) if not yes]


def account_name(cluster: Cluster) -> str:
    """Give the user name by which the API server knows us."""
    document: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    response = cluster.call("POST", _SELF, what="ask who we are", document=document)
    return str(orjson.loads(response.content)["status"]["userInfo"]["username"])


def grants(missing: Iterable[Right], account: str, name: str = "llmatrix") -> dict[str, str]:
    """Write the kubectl commands by which an administrator grants what is missing.

    Returns:
        Resource and place in words to the command: kubectl makes no role of several rules.
    """
    by_place: dict[tuple[str, str, str], list[str]] = {}
    for right in missing:
        place = (right.qualified, right.namespace, right.name)
        by_place.setdefault(place, []).append(right.verb)
    return {
        str(Right(", ".join(verbs), "", *place)): _grant(name, place, verbs, account)
        for place, verbs in by_place.items()
    }


def _grant(stem: str, place: tuple[str, str, str], verbs: list[str], account: str) -> str:
    qualified, namespace, only = place
    name = f"{stem}-{re.sub('[^a-z]', '-', qualified)}"
    role, binding, where = (
        ("role", "rolebinding", f" -n {namespace}")
        if namespace
        else ("clusterrole", "clusterrolebinding", "")
    )
    prefix = "system:serviceaccount:"
    subject = (
        f"--serviceaccount={account.removeprefix(prefix)}"
        if account.startswith(prefix)
        else f"--user={shlex.quote(account)}"
    )
    objects = f" --resource-name={only}" if only else ""
    return (
        f"kubectl create {role} {name}{where} --verb={','.join(verbs)} --resource={qualified}"
        f"{objects} && kubectl create {binding} {name}{where} --{role}={name} {subject}"
    )


def _allowed(cluster: Cluster, right: Right, account: str | None) -> bool:
    plural, _, below = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": plural}
    attributes |= {"subresource": below} if below else {}
    attributes |= {"namespace": right.namespace} if right.namespace else {}
    attributes |= {"name": right.name} if right.name else {}
    spec: Object = {"resourceAttributes": attributes}
    document: Object = {"apiVersion": "authorization.k8s.io/v1", "spec": spec}
    if account is None:
        path, document["kind"] = _REVIEWS, "SelfSubjectAccessReview"
    else:
        path, document["kind"], spec["user"] = (
            _REVIEWS_OF_OTHERS,
            "SubjectAccessReview",
            account,
        )
        namespace = account.split(":")[2]
        spec["groups"] = [
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        ]
    response = cluster.call("POST", path, what=f"ask whether we may {right}", document=document)
    return bool(orjson.loads(response.content)["status"].get("allowed", False))
