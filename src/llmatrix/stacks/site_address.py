"""Where a site is on a Kubernetes cluster, as it is told to the steps that run there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from llmatrix.cluster import labels
from llmatrix.cluster.naming import dns_name, label_value

LONGEST_NAME: Final = 40
"""Of a site; the names of the objects on it are longer."""


@dataclass(frozen=True, slots=True)
class SiteAddress:
    """A site on a cluster.

    Attributes:
        name: of the site; DNS-1123, at most ``LONGEST_NAME`` characters.
        namespace: in which its objects live.
        own_namespace: whether that namespace is the site's own, made and removed with it.
        experiment: name of the experiment.
        run: which submission made it.
        lane: number of the lane.
        expires: POSIX second after which nobody wants what stands there.
        home: namespace of the PipelineRuns, with the secrets and the account of the steps.
        account: of the steps, in ``home``.
        image: of llmatrix; the simulated servers run in it too.
        pull_policy: of that image.
    """

    name: str
    namespace: str
    own_namespace: bool
    experiment: str
    run: str
    lane: int
    expires: int
    home: str
    account: str
    image: str
    pull_policy: str = "IfNotPresent"

    def labels(self) -> dict[str, str]:
        """Give the labels of everything that is made for this site."""
        return {
            labels.MANAGED_BY: labels.OURS,
            labels.EXPERIMENT: label_value(self.experiment),
            labels.RUN: label_value(self.run),
            labels.SITE: self.name,
            labels.HOME: self.home,
            labels.EXPIRES: str(self.expires),
        }

    def object_name(self, name: str) -> str:
        """Give the name of an object of this site: as it is in a namespace of its own."""
        return name if self.own_namespace else dns_name(self.name, name)

    def of_trial(self, trial_id: str) -> Self:
        """Give the site of one trial, where every trial has its own (``isolation: fresh``)."""
        name = dns_name(self.name, trial_id[:10], limit=LONGEST_NAME)
        return replace(self, name=name, namespace=name if self.own_namespace else self.namespace)
