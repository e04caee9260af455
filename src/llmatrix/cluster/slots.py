"""Few at a time, of many pods that were started together: each takes a numbered slot, a Lease.

(Tekton starts all combinations of a matrix at once and has no limit of its own.)
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import AlreadyThere, ClusterFault
from llmatrix.cluster.kinds import LEASE, POD, Object
from llmatrix.cluster.naming import dns_name

_PAUSE_S: Final = (2.0, 5.0)
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Slots:
    """Numbered slots in a namespace.

    Attributes:
        name: what the leases are named after.
        count: how many there are.
        labels: of the leases.
    """

    cluster: Cluster
    namespace: str
    name: str
    count: int
    labels: Mapping[str, str]

    def take(self, pod: str, stop: threading.Event) -> bool:
        """Wait for a free slot and hold it for a pod; false if ``stop`` was set meanwhile.

        A slot is free if nobody holds it, or the pod that does has ended or is gone. A pod that
        holds one already keeps it.
        """
        draw = random.Random(pod)  # noqa: S311 - spreads the tries, no secret
        while True:
            for number in draw.sample(range(self.count), self.count):
                if self._try(number, pod):
                    return True
            if stop.wait(draw.uniform(*_PAUSE_S)):
                return False

    def release(self, pod: str) -> None:
        """Give back what a pod holds."""
        for number in range(self.count):
            lease = self.cluster.get(LEASE, self._lease(number), self.namespace)
            if lease is not None and _holder(lease) == pod:
                uid = lease["metadata"]["uid"]
                self.cluster.delete(LEASE, self._lease(number), self.namespace, uid=uid)

    def clear(self) -> None:
        """Remove every slot, whoever holds it."""
        for number in range(self.count):
            self.cluster.delete(LEASE, self._lease(number), self.namespace)

    def _lease(self, number: int) -> str:
        return dns_name(self.name, "slot", str(number))

    def _try(self, number: int, pod: str) -> bool:
        lease = self.cluster.get(LEASE, self._lease(number), self.namespace)
        try:
            if lease is None:
                self.cluster.create(self._document(number, pod))
                return True
            if _holder(lease) == pod:
                return True
            if not self._abandoned(lease):
                return False
            self.cluster.replace({**lease, "spec": {"holderIdentity": pod}})
        except AlreadyThere:
            return False
        except ClusterFault as error:
            if error.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                return False
            raise
        return True

    def _abandoned(self, lease: Object) -> bool:
        holder = self.cluster.get(POD, _holder(lease), self.namespace)
        return holder is None or holder.get("status", {}).get("phase") in _ENDED

    def _document(self, number: int, pod: str) -> Object:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {
                "name": self._lease(number),
                "namespace": self.namespace,
                "labels": dict(self.labels),
            },
            "spec": {"holderIdentity": pod},
        }


def _holder(lease: Object) -> str:
    return str(lease.get("spec", {}).get("holderIdentity", ""))
