"""The run.cluster section: where and how an experiment runs on a Kubernetes cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmatrix.spec.base import Section
from llmatrix.spec.stack_parts import ENV_NAME, IMAGE, IN_ORDER
from llmatrix.spec.units import ByteRate, PositiveDuration

LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A DNS-1123 label, as names of namespaces are."""
OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i?|m|k)?$"


class SecretKey(Section):
    """One key of a secret of the run's namespace; its value is never read by llmatrix itself."""

    secret: Annotated[str, Field(pattern=OBJECT_NAME)]
    """Name of the secret."""
    key: Annotated[str, Field(pattern=r"^[-._A-Za-z0-9]{1,253}$")]
    """Key in it."""


class Cluster(Section):
    """Where the experiment runs on a cluster; no part of what is measured."""

    namespace: Annotated[str, Field(pattern=LABEL)] | None = None
    """Namespace of the PipelineRuns; default: the kubeconfig context's."""
    namespaced: bool = False
    """Keep every site in that namespace too: needs no cluster role. Else a namespace a lane."""
    image: Annotated[str, Field(pattern=IMAGE)] | None = None
    """Image of the steps; default: `LLMATRIX_IMAGE`, or the one published for this version."""
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When nodes fetch that image."""
    service_account: Annotated[str, Field(pattern=OBJECT_NAME)] = "llmatrix"
    """Account of the steps; it has the rights that `llmatrix tekton render` writes down."""
    env: Annotated[dict[Annotated[str, Field(pattern=ENV_NAME)], str | SecretKey], IN_ORDER] = {}
    """Environment of the steps that measure and store: a value, or a key of a secret."""
    results_claim: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """Existing claim for the records, where `results.store` is a folder; default: one is made."""
    results_size: Annotated[str, Field(pattern=QUANTITY)] = "10Gi"
    """Size of the claim that is made."""
    storage_class: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """Class of the claims that are made; default: the cluster's."""
    download_rate: ByteRate = 100e6
    """How fast models are thought to come from the Hub, for the plan's times: `100MB/s`."""
    harness_cpu: Annotated[str, Field(pattern=QUANTITY)] | None = None
    """CPU that the pod of a trial asks for, the load generator's; default: `100m`, and `10m` with
    `isolation: fresh`, where all pods of a matrix stand, and most of them wait for their turn."""
    harness_memory: Annotated[str, Field(pattern=QUANTITY)] = "256Mi"
    """Memory that the pod of a trial asks for."""
    expires: PositiveDuration = 86400.0
    """How long after its planned end `llmatrix gc` takes what still stands for forgotten."""
