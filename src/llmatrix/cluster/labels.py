"""The labels and annotations by which everything that llmatrix makes is known, kept and removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmatrix.cluster.kinds import Object

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OURS: Final = "llmatrix"
COMPONENT: Final = "app.kubernetes.io/component"
EXPERIMENT: Final = "llmatrix.dev/experiment"
"""Name of the experiment."""
RUN: Final = "llmatrix.dev/run"
"""Which submission made it."""
LANE: Final = "llmatrix.dev/lane"
SITE: Final = "llmatrix.dev/site"
"""Name of the site that it stands on."""
TRIAL: Final = "llmatrix.dev/trial"
HOME: Final = "llmatrix.dev/home"
"""Namespace of the PipelineRuns that a site belongs to: who looks after it, and nobody else."""
STEP: Final = "llmatrix.dev/step"
"""Which step made it."""
EXPIRES: Final = "llmatrix.dev/expires"
"""POSIX second after which nobody wants it any more."""
KEEP: Final = "llmatrix.dev/keep"
"""Whose site is to be left standing (a PipelineRun), or was (a site's namespace or record)."""
SPEC: Final = "llmatrix.dev/spec"
"""Annotation: hash of what was asked for, to tell whether an object of that name is ours."""
PARTS: Final = "llmatrix.dev/parts"
"""Annotation: how many ConfigMaps carry one content together."""
LEVELS: Final = "llmatrix.dev/levels"
"""Annotation: the levels of a trial, for people."""


def selector(labels: Mapping[str, str | None]) -> str:
    """Write a label selector; a label that is None must be there with any value."""
    return ",".join(key if value is None else f"{key}={value}" for key, value in labels.items())


def selecting(labels: Mapping[str, str | None] | None) -> dict[str, str]:
    """Give the parameters by which a call is about objects with these labels only."""
    return {"labelSelector": selector(labels)} if labels else {}


def ours(document: Object) -> bool:
    """Tell whether llmatrix made an object."""
    labels = document.get("metadata", {}).get("labels") or {}
    return bool(labels.get(MANAGED_BY) == OURS)
