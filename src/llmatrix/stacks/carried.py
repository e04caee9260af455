"""What a trial's document knows by its hash only, read where the trial's steps run."""

from __future__ import annotations

from llmatrix.cluster import carriers
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.site_address import SiteAddress


def content(cluster: Cluster, address: SiteAddress, digest: str, what: str) -> bytes:
    """Give what is carried beside the PipelineRuns that a site is of.

    Args:
        cluster: on which they are.
        address: of the site.
        digest: SHA-256 of what is wanted, in hexadecimal.
        what: it is, in words, for people.

    Raises:
        StepFailure: class ``user`` where it is not there or not whole, and names the ConfigMap;
            as ``asking`` says where the cluster does not give it.
    """
    try:
        with asking():
            return _content(cluster, address, digest)
    except carriers.NotCarriedError as error:
        raise StepFailure(
            f"{what} cannot be read from ConfigMap {address.home}/{error.name}: {error.why}; "
            f"submit it again.",
            FailureClass.USER,
        ) from None


def _content(cluster: Cluster, address: SiteAddress, digest: str) -> bytes:
    try:
        return carriers.read(cluster, address.home, address.experiment, digest)
    except Refused as error:
        # An account from before the experiment had something to carry.
        raise Refused(
            f"{error}; an administrator gives it by applying roles.yaml from: llmatrix tekton "
            f"render FILE -o DIR",
            status=error.status,
            reason=error.reason,
        ) from None
