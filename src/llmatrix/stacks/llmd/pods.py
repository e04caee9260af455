"""Deployments and ConfigMaps as all layers of an llm-d stack make them."""

from __future__ import annotations

from collections.abc import Mapping

from llmatrix.cluster.kinds import CONFIG_MAP, DEPLOYMENT, Object


def deployment(name: str, marks: Mapping[str, str], spec: Object, *, replicas: int = 1) -> Object:
    """Give a Deployment of pods with these labels; its old pods are gone before new ones start."""
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": dict(marks)},
            "template": {"metadata": {"labels": dict(marks)}, "spec": spec},
        },
    }


def config_map(name: str, files: Mapping[str, str]) -> Object:
    """Give a ConfigMap of files."""
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {"name": name},
        "data": dict(files),
    }
