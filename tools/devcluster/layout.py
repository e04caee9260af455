"""Where everything of the cluster lies, and the addresses it uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NODE: Final = "llmatrix-devcluster"
NODE_ADDRESS: Final = "10.88.0.1"
"""An alias on ``lo``: the API server and the kubelet listen here, pods reach them here."""
API_PORT: Final = 6443
PODS: Final = "10.244.0.0/24"
SERVICES: Final = "10.96.0.0/16"
API_SERVICE: Final = "10.96.0.1"
DNS_SERVICE: Final = "10.96.0.10"
DOMAIN: Final = "cluster.local"
NETWORK: Final = "llmatrix-devcluster"
"""Name of the pods' network; what CNI plugins leave outside our folder carries it."""
CGROUP: Final = "llmatrix-devcluster"
"""All pods live below this control group, so whatever runs in it is ours."""
PROVISIONER: Final = "llmatrix.dev/folders"
"""Who makes volumes for the default storage class."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one cluster.

    Attributes:
        root: everything but built programs and images is below; only root may look in.
    """

    root: Path

    @property
    def pki(self) -> Path:
        """Keys, certificates and kubeconfigs."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Configuration files of the processes."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """What survives ``down``: etcd, images, volumes."""
        return self.root / "data"

    @property
    def volumes(self) -> Path:
        """The folders that claims are given."""
        return self.data / "volumes"

    @property
    def run(self) -> Path:
        """What does not survive ``down``: sockets, mounts, network namespaces."""
        return self.root / "run"

    @property
    def kubelet(self) -> Path:
        """The kubelet's own folder, with the volumes of pods."""
        return self.run / "kubelet"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.run / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        return self.pki / "admin.kubeconfig"


def layout() -> Layout:
    """Give the cluster's folder: ``LLMATRIX_DEVCLUSTER``, or one below /var/lib."""
    return Layout(Path(os.environ.get("LLMATRIX_DEVCLUSTER", "/var/lib/llmatrix-devcluster")))


def cache() -> Path:
    """Give the folder of built programs and images: ``LLMATRIX_DEVCLUSTER_CACHE``, or ~/.cache."""
    chosen = os.environ.get("LLMATRIX_DEVCLUSTER_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "llmatrix-devcluster"
