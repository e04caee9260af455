"""What a cluster is like: asked of its API server, given as data.

Each function raises ``Refused`` where our account may not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    STORAGE_CLASS,
    Kind,
    Object,
)

TEKTON_NAMESPACES: Final = ("tekton-pipelines", "openshift-pipelines")
GATEWAY: Final = Kind("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
GATEWAY_CLASS: Final = Kind(
    "gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", namespaced=False
)
HTTP_ROUTE: Final = Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
INFERENCE_POOL: Final = Kind("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
SECURITY_CONTEXT_CONSTRAINTS: Final = Kind(
    "security.openshift.io",
    "v1",
    "securitycontextconstraints",
    "SecurityContextConstraints",
    namespaced=False,
)
"""Served by OpenShift only."""
COMBINATIONS_SETTING: Final = "default-max-matrix-combinations-count"
COMBINATIONS: Final = 256
"""Tekton's own default for it."""
_ENFORCE: Final = "pod-security.kubernetes.io/enforce"
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_ACCELERATORS: Final = (
    "/gpu",
    "nvidia.com/",
    "gpu.intel.com/",
    "google.com/tpu",
    "habana.ai/",
    "aws.amazon.com/neuron",
)
_SHARED: Final = (
    "nfs",
    "cephfs",
    "efs.csi.aws",
    "filestore.csi",
    "file.csi.azure",
    "azure-file",
    "fsx.csi.aws",
    "fsx.openzfs",
    "glusterfs",
    "longhorn",
    "csi.weka",
    "beegfs",
    "lustre",
    "vast",
    "quobyte",
    "portworx",
    "juicefs",
    "spectrumscale",
    "trident",
)
"""Parts of the names of provisioners that make volumes for many nodes (ReadWriteMany)."""


@dataclass(frozen=True, slots=True)
class Tekton:
    """The Tekton Pipelines of a cluster.

    Attributes:
        namespace: of its controller.
        version: as it names itself, or "".
        flags: ConfigMap ``feature-flags``; None where we may not read it.
        defaults: ConfigMap ``config-defaults``; None where we may not read it.
    """

    namespace: str
    version: str
    flags: Mapping[str, str] | None
    defaults: Mapping[str, str] | None

    @property
    def combinations(self) -> int:
        """Most combinations that it allows in one matrix."""
        told = (self.defaults or {}).get(COMBINATIONS_SETTING, "")
        return int(told) if told.isdigit() and int(told) else COMBINATIONS


@dataclass(frozen=True, slots=True)
class StorageClass:
    """A class of volumes; ``shared`` if its provisioner is known to serve many nodes at once."""

    name: str
    provisioner: str
    default: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node that takes pods.

    Attributes:
        name: of it.
        accelerators: resource name (``nvidia.com/gpu``) to how many it has.
        free: of those, how many no pod has asked for; the same as ``accelerators`` where we may
            not see the pods.
        labels: of it.
    """

    name: str
    accelerators: Mapping[str, int]
    free: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)


def tekton(cluster: Cluster) -> Tekton | None:
    """Look for Tekton where it is usually installed; None if its ConfigMaps are in neither place.

    (``pipelines-info`` is readable by every account of the cluster.)
    """
    for namespace in TEKTON_NAMESPACES:
        try:
            info = cluster.get(CONFIG_MAP, "pipelines-info", namespace)
        except Refused:
            continue
        if info is not None:
            return Tekton(
                namespace,
                (info.get("data") or {}).get("version", ""),
                _settings(cluster, "feature-flags", namespace),
                _settings(cluster, "config-defaults", namespace),
            )
    return None


def _settings(cluster: Cluster, name: str, namespace: str) -> Mapping[str, str] | None:
    try:
        found = cluster.get(CONFIG_MAP, name, namespace)
    except Refused:
        return None
    data = {} if found is None else found.get("data") or {}
    return {key: value for key, value in data.items() if not key.startswith("_")}


def storage_classes(cluster: Cluster) -> list[StorageClass]:
    """Give the classes of volumes, the default one first."""
    found = [
        StorageClass(
            each["metadata"]["name"],
            each["provisioner"],
            (each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true",
            any(part in each["provisioner"] for part in _SHARED),
        )
        for each in cluster.find(STORAGE_CLASS)
    ]
    return sorted(found, key=lambda each: (not each.default, each.name))


def has_secret(cluster: Cluster, name: str, namespace: str) -> bool:
    """Tell whether there is a secret of that name; its content is not sent to us."""
    return cluster.metadata(SECRET, name, namespace) is not None


def access_modes(cluster: Cluster, claim: str, namespace: str) -> list[str] | None:
    """Give the access modes of a claim (``ReadWriteMany``), or None if it is not there."""
    found = cluster.get(PERSISTENT_VOLUME_CLAIM, claim, namespace)
    return None if found is None else list(found["spec"].get("accessModes", ()))


def enforced(cluster: Cluster, namespace: str) -> str | None:
    """Give the Pod Security standard that a namespace enforces, "" for none; None: no namespace."""
    found = cluster.get(NAMESPACE, namespace)
    if found is None:
        return None
    return str((found["metadata"].get("labels") or {}).get(_ENFORCE, ""))


def nodes(cluster: Cluster) -> list[Node]:
    """Give the nodes that take pods, with their accelerators."""
    found = cluster.find(NODE)
    try:
        pods = cluster.find(POD)
    except Refused:
        pods = []
    return read_nodes(found, pods)


def read_nodes(found: Sequence[Object], pods: Sequence[Object]) -> list[Node]:
    """Read Node documents, and what the pods on them have asked for."""
    used: dict[tuple[str, str], int] = {}
    for pod in pods:
        if pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            continue
        on = pod["spec"].get("nodeName", "")
        for container in pod["spec"].get("containers", ()):
            asked = (container.get("resources") or {}).get("requests") or {}
            for resource in filter(is_accelerator, asked):
                used[on, resource] = used.get((on, resource), 0) + int(asked[resource])
    return [_node(each, used) for each in found if _takes_pods(each)]


def _takes_pods(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not node.get("spec", {}).get("unschedulable", False)


def _node(document: Object, used: Mapping[tuple[str, str], int]) -> Node:
    name = document["metadata"]["name"]
    there = {
        resource: int(amount)
        for resource, amount in (document["status"].get("allocatable") or {}).items()
        if is_accelerator(resource) and amount.isdigit() and int(amount)
    }
    free = {resource: max(n - used.get((name, resource), 0), 0) for resource, n in there.items()}
    return Node(name, there, free, document["metadata"].get("labels") or {})


def is_accelerator(resource: str) -> bool:
    """Tell whether a resource of a node is an accelerator."""
    return any(part in resource for part in _ACCELERATORS)


def deployments(free: Sequence[int], pods: Sequence[int], most: int) -> int:
    """Tell how many deployments, at most ``most``, fit on nodes with so many free accelerators.

    Args:
        free: accelerators of each node.
        pods: accelerators of each pod of one deployment.
        most: where counting ends.

    The largest pods are placed first, each where it leaves least: exact for sizes of which each
    divides the next larger, as accelerators are asked for.
    """
    left = list(free)
    for count in range(most):
        for pod in sorted(pods, reverse=True):
            fitting = [place for place, amount in enumerate(left) if amount >= pod]
            if not fitting:
                return count
            left[min(fitting, key=left.__getitem__)] -= pod
    return most
