"""The kinds of objects that llmatrix makes, reads and removes, and the paths they live at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]
"""A Kubernetes object as plain data."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its API group ("" for the core), version, plural and name."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects of the kind carry it: ``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As rights name it: ``pods``, ``pipelineruns.tekton.dev``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Give the path of one object, or of all of them in a namespace, or in the cluster."""
        root = f"/apis/{self.group}" if self.group else "/api"
        parts = [root, self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/".join(parts)


CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
EVENT: Final = Kind("", "v1", "events", "Event")
NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODE: Final = Kind("", "v1", "nodes", "Node", namespaced=False)
PERSISTENT_VOLUME_CLAIM: Final = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
POD: Final = Kind("", "v1", "pods", "Pod")
SECRET: Final = Kind("", "v1", "secrets", "Secret")
SERVICE: Final = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount")
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET: Final = Kind("apps", "v1", "statefulsets", "StatefulSet")
JOB: Final = Kind("batch", "v1", "jobs", "Job")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")
LEADER_WORKER_SET: Final = Kind(
    "leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"
)
ROLE: Final = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLE: Final = Kind(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False
)
CLUSTER_ROLE_BINDING: Final = Kind(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
STORAGE_CLASS: Final = Kind(
    "storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False
)
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
PIPELINE_RUN: Final = Kind("tekton.dev", "v1", "pipelineruns", "PipelineRun")
TASK: Final = Kind("tekton.dev", "v1", "tasks", "Task")
TASK_RUN: Final = Kind("tekton.dev", "v1", "taskruns", "TaskRun")
STEP_ACTION: Final = Kind("tekton.dev", "v1beta1", "stepactions", "StepAction")

_KNOWN: Final = {
    (kind.api_version, kind.name): kind
    for kind in tuple(globals().values())
    if isinstance(kind, Kind)
}


def known(document: Object) -> Kind | None:
    """Give the kind of an object if it is one of those above."""
    return _KNOWN.get((document["apiVersion"], document["kind"]))
