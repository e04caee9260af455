"""A set of rendered objects: read, brought into one form, and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from llmatrix.cluster.helm import HOOK
from llmatrix.cluster.kinds import DEPLOYMENT, STATEFUL_SET, Object
from llmatrix.cluster.programs import NotRendered
from llmatrix.plan.digest import canonical

RUNS_PODS: Final = (DEPLOYMENT.name, STATEFUL_SET.name)
"""Kinds whose pods can be waited for."""
_GPU: Final = "nvidia.com/gpu"


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML as Kubernetes does: a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class ManifestSet:
    """Objects in one order, and what was left out of them.

    Attributes:
        objects: as plain data.
        hooks: names of what helm would have run by itself, left out.
    """

    objects: tuple[Object, ...]
    hooks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As canonical JSON: the same objects always give the same text."""
        return canonical(list(self.objects))


def read(text: str) -> ManifestSet:
    """Read what was rendered.

    Raises:
        NotRendered: it is no set of objects.
    """
    try:
        documents = [each for each in yaml.load_all(text, _Loader) if each is not None]
    except yaml.YAMLError as error:
        raise NotRendered(f"this is not YAML: {' '.join(str(error).split())}") from None
    found = [_whole(each) for each in _flat(documents)]
    hooks = [each for each in found if HOOK in (each["metadata"].get("annotations") or {})]
    kept = sorted((each for each in found if each not in hooks), key=_order)
    return ManifestSet(tuple(kept), tuple(map(told, hooks)))


def told(document: Object) -> str:
    """Name an object as people do: ``Deployment x``."""
    return f"{document['kind']} {document['metadata']['name']}"


def sha256(text: str) -> str:
    """Hash a set as canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()


def accelerators(objects: Iterable[Object]) -> int:
    """Count the accelerators that all pods of a set ask for."""
    return sum(pods(each) * sum(map(_gpus, containers(each))) for each in objects)


def pods(document: Object) -> int:
    """Count the pods that an object wants; 0 for one of a kind that runs none."""
    if document["kind"] not in RUNS_PODS:
        return 0
    return int((document.get("spec") or {}).get("replicas", 1))


def containers(document: Object) -> list[Object]:
    """Give the containers of an object's pods, those that run first too."""
    spec = ((document.get("spec") or {}).get("template") or {}).get("spec") or {}
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def images(objects: Iterable[Object]) -> set[str]:
    """Give the images that a set runs, as they are written."""
    return {str(c["image"]) for each in objects for c in containers(each) if c.get("image")}


def with_images(found: ManifestSet, pinned: Mapping[str, str]) -> ManifestSet:
    """Give the set with images pinned: reference as written → digest (``sha256:…``)."""
    objects = json.loads(found.text)
    for each in objects:
        for container in containers(each):
            digest = pinned.get(str(container.get("image", "")))
            if digest and "@" not in container["image"]:
                container["image"] = f"{container['image']}@{digest}"
    return ManifestSet(tuple(objects), found.hooks)


def _flat(documents: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for each in documents:
        items = each.get("items") if isinstance(each, dict) else None
        if isinstance(items, list) and str(each.get("kind", "")).endswith("List"):
            found += _flat(items)
        else:
            found.append(each)
    return found


def _whole(document: Any) -> Object:
    """Check that this is an object, and leave out what says nothing."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    fields = [document.get("apiVersion"), document.get("kind")] if metadata else []
    if not isinstance(metadata, dict) or not all(isinstance(f, str) and f for f in fields):
        raise NotRendered("something in it is no object: apiVersion, kind or metadata is missing")
    if not isinstance(metadata.get("name"), str):
        raise NotRendered(f"a {document['kind']} in it has no name")
    said = {key: value for key, value in metadata.items() if value not in (None, {})}
    try:
        json.dumps(document)
    except (TypeError, ValueError):
        raise NotRendered(f"{document['kind']} {said['name']} is not plain data") from None
    kept = {key: v for key, v in document.items() if key != "status" and v is not None}
    return {**kept, "metadata": said}


def _order(document: Object) -> tuple[bool, str, str, str]:
    """Put what runs pods last: what they mount and run as is there then."""
    runs = document["kind"] in RUNS_PODS
    return runs, document["kind"], document["apiVersion"], document["metadata"]["name"]


def _gpus(container: Object) -> int:
    resources = container.get("resources") or {}
    asked = (resources.get("limits") or {}).get(_GPU) or (resources.get("requests") or {}).get(_GPU)
    return int(asked or 0)
