"""The configuration files of containerd, the CNI plugins, the kubelet and kube-proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tools.devcluster.layout import (
    CGROUP,
    DNS_SERVICE,
    DOMAIN,
    NETWORK,
    NODE,
    NODE_ADDRESS,
    PODS,
    Layout,
)

BRIDGE: Final = "llmatrix0"
"""The bridge between the pods; at most 15 characters."""

_CONTAINERD: Final = """\
version = 2
root = "{data}"
state = "{run}"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # A negative score needs CAP_SYS_RESOURCE; without it every sandbox would die at its start.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{networks}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{run}/runc"
      SystemdCgroup = false
"""


def write(layout: Layout, *, pause: str, plugins: Path) -> None:
    """Write all configuration files."""
    networks = layout.config / "networks"
    networks.mkdir(parents=True, exist_ok=True)
    containerd = _CONTAINERD.format(
        data=layout.data / "containerd",
        run=layout.run / "containerd",
        socket=layout.containerd_socket,
        pause=pause,
        plugins=plugins,
        networks=networks,
    )
    _keep(layout.config / "containerd.toml", containerd)
    _write(networks / f"10-{NETWORK}.conflist", _network(layout))
    _keep(layout.config / "resolv.conf", _resolver())
    _write(layout.config / "kubelet.json", _kubelet(layout))
    _write(layout.config / "kube-proxy.json", _proxy(layout))


def _write(path: Path, document: dict[str, Any]) -> None:
    _keep(path, json.dumps(document, indent=1))


def _keep(path: Path, content: str) -> None:
    """Write the file unless it says so already: kube-proxy ends when its file is written to."""
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def _network(layout: Layout) -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(layout.run / "addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "tlsCertFile": str(layout.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet-server.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": DOMAIN,
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": str(layout.config / "resolv.conf"),
        "podLogsDir": str(layout.run / "pod-logs"),
        "volumePluginDir": str(layout.run / "volume-plugins"),
        "maxPods": 200,
        "syncFrequency": "10s",
        # Images come from nowhere but this machine: none may be collected.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "1%",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
    }


def _proxy(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(layout.pki / "kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": PODS,
        "bindAddress": NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        "oomScoreAdj": 0,
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
        # Zero leaves the machine's own limits as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _resolver() -> str:
    """Give the upstream name servers: CoreDNS would ask itself at a loopback address."""
    servers: list[str] = []
    for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if path.exists():
            rows = [row.split() for row in path.read_text(encoding="utf-8").splitlines()]
            servers += [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    usable = [name for name in servers if not name.startswith("127.") and ":" not in name]
    # An address where nobody answers (RFC 5737): names outside the cluster are then unknown.
    return "".join(f"nameserver {name}\n" for name in usable[:3] or ["192.0.2.53"])
