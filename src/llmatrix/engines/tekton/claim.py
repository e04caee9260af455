"""The claim for the records, where the store is a folder."""

from __future__ import annotations

from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM, Object
from llmatrix.engines.tekton.objects import hashed, made
from llmatrix.engines.tekton.settings import Claim, Settings
from llmatrix.results.claim import IMAGE

COMPONENT: Final = "results"


def results_claim(settings: Settings, experiment: str) -> Object | None:
    """Make the claim, if there is one, and it is ours to make.

    It never expires: what is in it is what the experiment is for.
    """
    claim = settings.claim
    if claim is None or not claim.made:
        return None
    extra = {labels.EXPERIMENT: experiment, labels.COMPONENT: COMPONENT}
    begun = made(
        PERSISTENT_VOLUME_CLAIM,
        claim.name,
        settings.namespace,
        # Whatever size and mode it once had, it is the same claim, and its records are wanted.
        spec=hashed([settings.namespace, claim.name]),
        extra=extra,
        annotations={IMAGE: settings.image},
    )
    return {**begun, "spec": _spec(claim)}


def _spec(claim: Claim) -> dict[str, Any]:
    spec: dict[str, Any] = {
        # Lanes may be on different nodes; one lane never is.
        "accessModes": ["ReadWriteMany" if claim.shared else "ReadWriteOnce"],
        "resources": {"requests": {"storage": claim.size}},
    }
    if claim.storage_class is not None:
        spec["storageClassName"] = claim.storage_class
    return spec
