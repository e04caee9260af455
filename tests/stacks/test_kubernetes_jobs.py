"""How the end of a Job's pod is read; a Job that runs for real is in tests/e2e."""

from __future__ import annotations

from typing import Any, cast

import httpx2 as httpx
import pytest

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import JOB, Kind
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_jobs
from llmatrix.stacks.kubernetes_site import KubernetesSite

LOG = "answer of /api/v1/namespaces/ns/pods/p/log\n"


class Api:
    """What is asked of a cluster here: logs, and the Jobs that stand."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.jobs = list(jobs)

    def call(self, method: str, path: str, **_: Any) -> httpx.Response:
        assert method == "GET"
        return httpx.Response(200, content=f"answer of {path}\n".encode())

    def find(self, kind: Kind, namespace: str, selection: dict[str, Any]) -> list[dict[str, Any]]:
        assert (kind, namespace, selection[labels.STEP]) == (JOB, "ns", "model")
        return self.jobs


class Place:
    """A site as far as it is looked at."""

    namespace = "ns"

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.cluster = Api(*jobs)

    def selection(self, step: Step) -> dict[str, str]:
        return {labels.STEP: step.value}


def site(*jobs: dict[str, Any]) -> KubernetesSite:
    return cast("KubernetesSite", Place(*jobs))


def pod(**state: Any) -> dict[str, Any]:
    statuses = [{"name": "download", "state": state}] if state else []
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": statuses}}


def test_the_end_is_told_by_the_pod_itself() -> None:
    over = kubernetes_jobs._ended(site(), pod(terminated={"exitCode": 2, "message": "why"}))
    assert over == kubernetes_jobs.Ended(2, "why", LOG)
    well = kubernetes_jobs._ended(site(), pod(terminated={"exitCode": 0}))
    assert well == kubernetes_jobs.Ended(0, "", LOG)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"running": {}},
        {"waiting": {"reason": "ContainerCreating"}},
        # Killed: that it was for its memory, only Kubernetes says.
        {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    ],
)
def test_other_states_are_none(state: dict[str, Any]) -> None:
    assert kubernetes_jobs._ended(site(), pod(**state)) is None


def test_a_job_that_lost_its_pod_is_told() -> None:
    lost = {"type": "Failed", "status": "True", "message": "Job has reached its backoff limit"}
    job = {"metadata": {"name": "model"}, "status": {"conditions": [lost]}}
    with pytest.raises(StepFailure, match="Job model is gone: Job has reached") as caught:
        kubernetes_jobs._look_at_job(site(job), Step.MODEL)
    assert caught.value.failure is FailureClass.ENVIRONMENT
    kubernetes_jobs._look_at_job(site({**job, "status": {}}), Step.MODEL)
