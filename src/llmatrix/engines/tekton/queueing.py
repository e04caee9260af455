"""What a PipelineRun tells Kueue: the queue that it waits in, and what it will use.

Kueue does not know PipelineRuns by itself; tekton-kueue teaches it. That reads the requests of a
PipelineRun from annotations ``kueue.konflux-ci.dev/requests-RESOURCE`` (konflux-ci/tekton-kueue,
``internal/controller/pipelinerun_controller.go``, ``resourcesRequests``), takes one that is
created as ``PipelineRunPending`` for suspended, and lets it go by clearing that.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from llmatrix.engines.tekton.objects import tiny_millicores
from llmatrix.engines.tekton.settings import Settings
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial

PENDING: Final = "PipelineRunPending"
"""``spec.status`` of a PipelineRun that waits, and the reason that Tekton then gives."""
QUEUE: Final = "kueue.x-k8s.io/queue-name"
"""Label: Kueue's LocalQueue."""
REQUESTS: Final = "kueue.konflux-ci.dev/requests-"
ACCELERATORS: Final = f"{REQUESTS}accelerators"
"""A name without a slash, as annotations cannot carry ``nvidia.com/gpu``; a ClusterQueue lists
``accelerators`` among its covered resources."""
CPU: Final = f"{REQUESTS}cpu"
_UNITS: Final = {
    "": 1000,
    "m": 1,
    "k": 1000**2,
    **{prefix: 1000 ** (power + 2) for power, prefix in enumerate("KMGTPE")},
    **{f"{prefix}i": 1000 * 1024 ** (power + 1) for power, prefix in enumerate("KMGTPE")},
}
"""Thousandths of a core."""


def requested(trials: Iterable[Trial], settings: Settings) -> dict[str, str]:
    """Tell what the sites of a PipelineRun hold at the same time.

    Simulated accelerators count like real ones, so that queueing can be rehearsed without any.
    """
    sites = settings.parallelism if settings.fresh else 1
    accelerators = sites * max(trial.treatment.stack.accelerators for trial in trials)
    steps = (len(Step) - 1) * tiny_millicores(settings)
    asked = {CPU: f"{sites * (millicores(settings.cpu) + steps)}m"}
    if accelerators:  # a queue that does not cover them need not be asked
        asked[ACCELERATORS] = str(accelerators)
    return asked


def millicores(quantity: str) -> int:
    """Read an amount of CPU as Kubernetes writes it: ``500m``, ``2``, ``1.5``."""
    number = quantity.rstrip("mkKMGTPEi")
    unit = quantity[len(number) :]
    return int(Decimal(number) * _UNITS[unit])
