"""Keys and certificates of the cluster, made once by openssl; they go with ``wipe``."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.devcluster.command import output
from tools.devcluster.layout import API_PORT, API_SERVICE, DOMAIN, NODE, NODE_ADDRESS, Layout

_DAYS: Final = "3650"


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A certificate: who signs it, its subject, and the names it serves under (none: a client)."""

    name: str
    authority: str
    subject: str
    names: tuple[str, ...] = ()


_AUTHORITIES: Final = ("ca", "front-proxy-ca", "etcd-ca")
_LEAVES: Final = (
    _Leaf(
        "apiserver",
        "ca",
        "/CN=kube-apiserver",
        (
            f"IP:{NODE_ADDRESS}",
            f"IP:{API_SERVICE}",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{DOMAIN}",
        ),
    ),
    _Leaf("kubelet-server", "ca", f"/CN={NODE}", (f"IP:{NODE_ADDRESS}", f"DNS:{NODE}")),
    # Bound by name to a role that may do what the API server asks of a kubelet; see addons.py.
    _Leaf("apiserver-kubelet", "ca", "/O=llmatrix:kubelet-api/CN=kube-apiserver-kubelet"),
    _Leaf("front-proxy", "front-proxy-ca", "/CN=front-proxy-client"),
    _Leaf("etcd-server", "etcd-ca", "/CN=etcd", ("IP:127.0.0.1",)),
    _Leaf("etcd-client", "etcd-ca", "/CN=kube-apiserver"),
    _Leaf("admin", "ca", "/O=system:masters/CN=llmatrix-admin"),
    _Leaf("controller-manager", "ca", "/CN=system:kube-controller-manager"),
    _Leaf("scheduler", "ca", "/CN=system:kube-scheduler"),
    _Leaf("kube-proxy", "ca", "/CN=system:kube-proxy"),
    _Leaf("provisioner", "ca", "/CN=llmatrix:provisioner"),
    _Leaf("kubelet", "ca", f"/O=system:nodes/CN=system:node:{NODE}"),
)
USERS: Final = ("admin", "controller-manager", "scheduler", "kube-proxy", "provisioner", "kubelet")
"""Who has a kubeconfig, at ``pki/NAME.kubeconfig``."""


def make(layout: Layout) -> None:
    """Make all keys, certificates and kubeconfigs, unless a whole set is there."""
    if (layout.pki / "complete").exists():
        return
    shutil.rmtree(layout.pki, ignore_errors=True)
    layout.pki.mkdir(parents=True, mode=0o700)
    accounts = layout.pki / "service-accounts.key"
    _key(accounts)
    _openssl("pkey", "-in", accounts, "-pubout", "-out", accounts.with_suffix(".pub"))
    for name in _AUTHORITIES:
        _authority(layout.pki, name)
    for number, leaf in enumerate(_LEAVES, start=1):
        _sign(layout.pki, leaf, number)
    for user in USERS:
        _kubeconfig(layout, user)
    (layout.pki / "complete").touch()


def _key(path: Path) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


def _authority(pki: Path, name: str) -> None:
    key, certificate = pki / f"{name}.key", pki / f"{name}.crt"
    _key(key)
    subject = ("-subj", f"/CN=llmatrix-devcluster-{name}")
    purpose = ("-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign")
    own = ("req", "-x509", "-new", "-sha256", "-days", _DAYS)
    _openssl(*own, "-key", key, *subject, *purpose, "-out", certificate)


def _sign(pki: Path, leaf: _Leaf, number: int) -> None:
    key, certificate = pki / f"{leaf.name}.key", pki / f"{leaf.name}.crt"
    _key(key)
    # One that serves is also a client: etcd calls itself.
    purposes = "serverAuth,clientAuth" if leaf.names else "clientAuth"
    lines = [f"extendedKeyUsage={purposes}", "keyUsage=critical,digitalSignature"]
    if leaf.names:
        lines.append("subjectAltName=" + ",".join(leaf.names))
    extensions = pki / f"{leaf.name}.ext"
    extensions.write_text("\n".join(lines) + "\n", encoding="ascii")
    request = _openssl("req", "-new", "-key", key, "-subj", leaf.subject)
    authority = pki / f"{leaf.authority}.crt"
    signer = ("-CA", authority, "-CAkey", authority.with_suffix(".key"), "-sha256")
    what = ("-set_serial", str(number), "-days", _DAYS, "-extfile", extensions)
    _openssl("x509", "-req", *signer, *what, "-out", certificate, given=request)
    extensions.unlink()


def _openssl(*words: str | Path, given: str | None = None) -> str:
    return output(["openssl", *words], given=given)


def _kubeconfig(layout: Layout, user: str) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": NODE,
                "cluster": {
                    "server": f"https://{NODE_ADDRESS}:{API_PORT}",
                    "certificate-authority-data": _encoded(layout.pki / "ca.crt"),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _encoded(layout.pki / f"{user}.crt"),
                    "client-key-data": _encoded(layout.pki / f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": NODE, "context": {"cluster": NODE, "user": user}}],
        "current-context": NODE,
    }
    path = layout.pki / f"{user}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
