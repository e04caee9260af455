"""What a brought layer may not be made of, found before anything is started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llmatrix.cluster.kinds import CUSTOM_RESOURCE_DEFINITION, ROLE, ROLE_BINDING, Object
from llmatrix.plan.step import Step
from llmatrix.stacks.llmd import placeholders
from llmatrix.stacks.llmd.manifest_set import RUNS_PODS, containers, pods, told
from llmatrix.stacks.llmd.names import SERVER_PORT
from llmatrix.stacks.site_rights import MORE_ON_SITE, ON_SITE

_EXTRA: Final = MORE_ON_SITE["llm-d"]
_CLUSTER_WIDE: Final = frozenset(
    {
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
        "CSIDriver",
        "GatewayClass",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    }
)
_TO_MAKE: Final = {"create", "patch", "delete", "list"}
_MAY_NOT: Final = "the steps may not make"
_NEVER: Final = frozenset({"events", "pods"})
"""Resources of the rules that no set may hold by themselves."""


def makeable() -> list[str]:
    """Give the resources that the account of the steps may make, as kubectl names them."""
    found = []
    for rule in [*ON_SITE, *_EXTRA]:
        if set(rule["verbs"]) >= _TO_MAKE:
            found += [
                f"{resource}.{group}" if group else resource
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                if resource not in _NEVER
            ]
    return sorted(set(found))


def faults(step: Step, objects: Sequence[Object]) -> list[str]:
    """Say what is wrong with the objects of a layer, each in a sentence that names it."""
    found = [words for each in objects for words in _of_one(each, objects)]
    rows = Counter((each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects)
    found += [f"{kind} {name} is in it twice" for (_, kind, name), n in rows.items() if n > 1]
    if not any(map(pods, objects)):
        kinds = " or ".join(RUNS_PODS)
        found.append(f"nothing in it runs a pod: there must be a {kinds} with replicas")
    if step is Step.SERVER:
        found += _of_servers(objects)
    if any(_MAY_NOT in words for words in found):
        found.append(f"what they may make: {', '.join(makeable())}")
    return found


def not_of_a_site(objects: Iterable[Object]) -> list[str]:
    """Give the objects whose names two sites in one namespace would both claim."""
    words = (placeholders.SITE, *placeholders.OURS)
    return [told(e) for e in objects if not any(w in e["metadata"]["name"] for w in words)]


def _of_one(each: Object, objects: Sequence[Object]) -> Iterator[str]:
    kind, namespace = each["kind"], each["metadata"].get("namespace")
    if kind == CUSTOM_RESOURCE_DEFINITION.name:
        yield f"{told(each)} is a definition, which an administrator installs; turn it off"
    elif kind in _CLUSTER_WIDE:
        yield f"{told(each)} belongs to the whole cluster, and a site to one namespace; turn it off"
    elif namespace not in (None, placeholders.NAMESPACE):
        yield f"{told(each)} is for namespace {namespace}, and not for the site's own"
    elif (resource := _resource(each)) not in makeable():
        yield f"{told(each)}: {_MAY_NOT} {resource}; turn it off"
    elif kind == ROLE.name:
        yield from _beyond(each)
    elif kind == ROLE_BINDING.name:
        yield from _unbindable(each, objects)


def _beyond(role: Object) -> Iterator[str]:
    """Nobody may give away a right that he does not have."""
    ours = _pairs([*ON_SITE, *_EXTRA])
    beyond = sorted(_pairs(role.get("rules") or ()) - ours)
    if beyond:
        group, resource, verb = beyond[0]
        what = f"{resource}.{group}" if group else resource
        more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        yield f"{told(role)} gives a right that the steps do not have: {verb} {what}{more}"


def _unbindable(binding: Object, objects: Sequence[Object]) -> Iterator[str]:
    ref = binding.get("roleRef") or {}
    ours = {each["metadata"]["name"] for each in objects if each["kind"] == ROLE.name}
    if ref.get("kind") != ROLE.name or ref.get("name") not in ours:
        what = f"{ref.get('kind')} {ref.get('name')}"
        yield f"{told(binding)} binds {what}, which is not in the same set; the steps may not"


def _pairs(rules: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (str(group), str(resource), str(verb))
        for rule in rules
        for group in rule.get("apiGroups") or ("",)
        for resource in rule.get("resources") or rule.get("nonResourceURLs") or ()
        for verb in rule.get("verbs") or ()
    }


def _of_servers(objects: Sequence[Object]) -> Iterator[str]:
    for each in filter(pods, objects):
        declared = [
            port.get("containerPort")
            for container in containers(each)
            for port in container.get("ports") or ()
        ]
        if declared and SERVER_PORT not in declared:
            yield (
                f"{told(each)} listens at {', '.join(map(str, declared))}, and every pod of the "
                f"server layer must serve at {SERVER_PORT}"
            )


def _resource(document: Object) -> str:
    """Name the resource of an object as Kubernetes does by default (UnsafeGuessKindToResource)."""
    group = document["apiVersion"].rpartition("/")[0]
    singular = document["kind"].lower()
    if singular.endswith(("s", "x", "ch", "sh")):
        plural = f"{singular}es"
    elif singular.endswith("y") and not singular.endswith("ey"):
        plural = f"{singular[:-1]}ies"
    else:
        plural = f"{singular}s"
    return f"{plural}.{group}" if group else plural
