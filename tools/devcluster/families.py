"""The Go modules that pin what is built here; a family each, for their replaces exclude others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

KUBERNETES: Final = "v1.34.4"
TEKTON: Final = "v1.6.2"
COREDNS: Final = "v1.14.7"
TKN: Final = "0.42.0"
HELM: Final = "v3.19.5"
PICKER: Final = "v1.2.0"
ENVOY_GATEWAY: Final = "v1.6.0"
LLM_D: Final = "v0.7.1"


@dataclass(frozen=True)
class Family:
    """One of our Go modules.

    Attributes:
        name: its folder below ``go/``.
        programs: what it builds: a program's name → its package.
        stamp: what is written into the programs at link time: a variable → its value.
        manifests: what is taken from a module's sources beside them: a name → (module, path).
    """

    name: str
    programs: Mapping[str, str]
    stamp: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where go.mod is."""
        return Path(__file__).parent / "go" / self.name


_HELM: Final = "helm.sh/helm/v3"
_GAIE: Final = "sigs.k8s.io/gateway-api-inference-extension"
_LLM_D: Final = "github.com/llm-d/llm-d-inference-scheduler"
_ENVOY_GATEWAY: Final = "github.com/envoyproxy/gateway"


def _named(prefix: str, *names: str) -> dict[str, str]:
    return {name: f"{prefix}/{name}" for name in names}


FAMILIES: Final = (
    Family(
        "kubernetes",
        _named(
            "k8s.io/kubernetes/cmd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ),
        stamp={
            "k8s.io/component-base/version.gitVersion": KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "34",
        },
        manifests={
            "coredns.yaml": ("k8s.io/kubernetes", "cluster/addons/dns/coredns/coredns.yaml.base")
        },
    ),
    Family(
        "tekton",
        _named(
            "github.com/tektoncd/pipeline/cmd",
            "controller",
            "webhook",
            "entrypoint",
            "nop",
            "workingdirinit",
            "sidecarlogresults",
            "resolvers",
            "events",
        ),
        manifests={"config": ("github.com/tektoncd/pipeline", "config")},
    ),
    Family("coredns", {"coredns": "."}),
    Family(
        "tkn",
        {"tkn": "."},
        stamp={"github.com/tektoncd/cli/pkg/cmd/version.clientVersion": TKN},
    ),
    Family("pause", {"pause": "."}),
    Family("provisioner", {"provisioner": "."}),
)
"""What every cluster is made of."""

GATEWAY: Final = (
    Family(
        "helm",
        {"helm": f"{_HELM}/cmd/helm"},
        stamp={
            f"{_HELM}/internal/version.version": HELM,
            # What charts are told to be rendered for, where no cluster is asked.
            f"{_HELM}/pkg/chartutil.k8sVersionMajor": "1",
            f"{_HELM}/pkg/chartutil.k8sVersionMinor": "34",
        },
    ),
    Family(
        "gaie",
        {"epp": f"{_GAIE}/cmd/epp"},
        stamp={f"{_GAIE}/version.BuildRef": PICKER},
        manifests={
            "crds": (_GAIE, "config/crd/bases"),
            "charts/inferencepool": (_GAIE, "config/charts/inferencepool"),
        },
    ),
    Family(
        "envoygateway",
        {"envoy-gateway": f"{_ENVOY_GATEWAY}/cmd/envoy-gateway"},
        stamp={f"{_ENVOY_GATEWAY}/internal/cmd/version.envoyGatewayVersion": ENVOY_GATEWAY},
        manifests={"charts/gateway-helm": (_ENVOY_GATEWAY, "charts/gateway-helm")},
    ),
)
"""What ``add gateway`` needs beside: built only for those who ask for it."""

PICKERS: Final = (
    Family(
        "llmd",
        {"epp": f"{_LLM_D}/cmd/epp"},
        stamp={f"{_GAIE}/version.BuildRef": LLM_D},
    ),
)
"""What ``add llm-d`` needs: a picker that chooses two servers for a request."""
