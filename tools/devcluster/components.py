"""The processes of the cluster: their command lines, their ports and when they are ready.

docs/how-to/real-cluster.md tells why the less usual settings are here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.devcluster import asking
from tools.devcluster.layout import (
    API_PORT,
    NODE,
    NODE_ADDRESS,
    PODS,
    PROVISIONER,
    SERVICES,
    Layout,
)

ETCD = 23790
ETCD_PEER = 23800
KUBELET = 10250
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Component:
    """One process.

    Attributes:
        name: what it is called in ``status`` and ``logs``.
        command: what is run.
        ports: where it listens, as (address, port); ports that it takes as they come are not here.
        ready: tells whether it answers.
        needs_api: it can only start once the API server is ready.
    """

    name: str
    command: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    ready: Callable[[], bool]
    needs_api: bool = False


def components(layout: Layout, programs: Mapping[str, Path]) -> list[Component]:
    """Give all processes, in the order in which they start.

    Args:
        layout: where they keep what.
        programs: what ``builds.provide`` gives.
    """
    kubernetes = programs["kubernetes"]
    return [
        _etcd(layout),
        _containerd(layout),
        _apiserver(layout, kubernetes / "kube-apiserver"),
        _controller_manager(layout, kubernetes / "kube-controller-manager"),
        _scheduler(layout, kubernetes / "kube-scheduler"),
        _kubelet(layout, kubernetes / "kubelet"),
        _proxy(layout, kubernetes / "kube-proxy"),
        _provisioner(layout, programs["provisioner"] / "provisioner"),
    ]


def _etcd(layout: Layout) -> Component:
    pki = layout.pki
    client, peer = f"https://{_LOOPBACK}:{ETCD}", f"https://{_LOOPBACK}:{ETCD_PEER}"
    command = (
        "etcd",
        f"--name={NODE}",
        f"--data-dir={layout.data / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={NODE}={peer}",
        "--client-cert-auth",
        f"--trusted-ca-file={pki / 'etcd-ca.crt'}",
        f"--cert-file={pki / 'etcd-server.crt'}",
        f"--key-file={pki / 'etcd-server.key'}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={pki / 'etcd-ca.crt'}",
        f"--peer-cert-file={pki / 'etcd-server.crt'}",
        f"--peer-key-file={pki / 'etcd-server.key'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    ready = partial(
        asking.https,
        f"{client}/health",
        pki / "etcd-ca.crt",
        pki / "etcd-client.crt",
        pki / "etcd-client.key",
    )
    return Component("etcd", command, ((_LOOPBACK, ETCD), (_LOOPBACK, ETCD_PEER)), ready)


def _containerd(layout: Layout) -> Component:
    config = layout.config / "containerd.toml"
    command = ("containerd", "--config", str(config))
    ready = partial(asking.program, "ctr", "--address", str(layout.containerd_socket), "version")
    return Component("containerd", command, (), ready)


def _apiserver(layout: Layout, program: Path) -> Component:
    pki = layout.pki
    command = (
        str(program),
        f"--bind-address={NODE_ADDRESS}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--etcd-servers=https://{_LOOPBACK}:{ETCD}",
        f"--etcd-cafile={pki / 'etcd-ca.crt'}",
        f"--etcd-certfile={pki / 'etcd-client.crt'}",
        f"--etcd-keyfile={pki / 'etcd-client.key'}",
        f"--service-cluster-ip-range={SERVICES}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
    )
    ready = partial(
        asking.https,
        f"https://{NODE_ADDRESS}:{API_PORT}/readyz",
        pki / "ca.crt",
        pki / "admin.crt",
        pki / "admin.key",
    )
    return Component("kube-apiserver", command, ((NODE_ADDRESS, API_PORT),), ready)


def _controller_manager(layout: Layout, program: Path) -> Component:
    pki = layout.pki
    kubeconfig = pki / "controller-manager.kubeconfig"
    command = (
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={_LOOPBACK}",
        f"--cluster-cidr={PODS}",
        f"--service-cluster-ip-range={SERVICES}",
        "--allocate-node-cidrs=false",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
    )
    ready = partial(asking.https_unverified, f"https://{_LOOPBACK}:10257/healthz")
    return Component(
        "kube-controller-manager", command, ((_LOOPBACK, 10257),), ready, needs_api=True
    )


def _scheduler(layout: Layout, program: Path) -> Component:
    kubeconfig = layout.pki / "scheduler.kubeconfig"
    command = (
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={_LOOPBACK}",
        "--leader-elect=false",
    )
    ready = partial(asking.https_unverified, f"https://{_LOOPBACK}:10259/healthz")
    return Component("kube-scheduler", command, ((_LOOPBACK, 10259),), ready, needs_api=True)


def _kubelet(layout: Layout, program: Path) -> Component:
    command = (
        str(program),
        f"--config={layout.config / 'kubelet.json'}",
        f"--kubeconfig={layout.pki / 'kubelet.kubeconfig'}",
        f"--root-dir={layout.kubelet}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
    )
    ready = partial(asking.http, f"http://{_LOOPBACK}:10248/healthz")
    ports = ((NODE_ADDRESS, KUBELET), (_LOOPBACK, 10248))
    return Component("kubelet", command, ports, ready, needs_api=True)


def _proxy(layout: Layout, program: Path) -> Component:
    command = (str(program), f"--config={layout.config / 'kube-proxy.json'}")
    ready = partial(asking.http, f"http://{_LOOPBACK}:10249/healthz")
    ports = ((_LOOPBACK, 10249), (_LOOPBACK, 10256))
    return Component("kube-proxy", command, ports, ready, needs_api=True)


def _provisioner(layout: Layout, program: Path) -> Component:
    port = 10270
    command = (
        str(program),
        f"--kubeconfig={layout.pki / 'provisioner.kubeconfig'}",
        f"--name={PROVISIONER}",
        f"--root={layout.volumes}",
        f"--node={NODE}",
        f"--port={port}",
    )
    ready = partial(asking.http, f"http://{_LOOPBACK}:{port}/metrics")
    return Component("provisioner", command, ((_LOOPBACK, port),), ready, needs_api=True)
