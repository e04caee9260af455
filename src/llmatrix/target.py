"""Where a workload is sent: what a stack gives and a harness takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A served model, ready for traffic.

    Attributes:
        base_url: scheme, host and port (and prefix) under which ``/v1/completions`` answers.
        model: the name to send as ``model``.
        api_key_env: name of the environment variable that holds the API key; never the key.
        metrics_urls: Prometheus endpoints of the model servers, one per replica.
        prefill_urls: of ``metrics_urls``, those of servers that prefill only.
        router_metrics_url: Prometheus endpoint of the router, where there is one.
        simulated: true when no real model answers; told in every record and picture.
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    metrics_urls: tuple[str, ...] = ()
    prefill_urls: tuple[str, ...] = ()
    router_metrics_url: str | None = None
    simulated: bool = False
