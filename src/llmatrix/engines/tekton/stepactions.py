"""The eight steps as StepActions: one program, told which step it is."""

from __future__ import annotations

from typing import Any, Final

from llmatrix.cluster.kinds import STEP_ACTION, Object
from llmatrix.engines.tekton.objects import PROGRAM, WORK, by_content, environment, security
from llmatrix.engines.tekton.settings import Settings
from llmatrix.plan.step import Step
from llmatrix.steps import told

WITH_ENV: Final = frozenset({Step.WORKLOAD, Step.UPLOAD, Step.TEARDOWN})
"""The steps that get ``run.cluster.env``: secrets are nowhere that they are not needed."""
_TOLD: Final = f"$(step.results.{told.OUTCOME}.path)"

_DOES: Final = {
    Step.NAMESPACE: "Makes the site on which a trial runs.",
    Step.GATEWAY: "Makes the gateway.",
    Step.ROUTER: "Makes the router, which picks a server for each request.",
    Step.MODEL: "Brings the model's files.",
    Step.SERVER: "Makes the model servers.",
    Step.WORKLOAD: "Sends the traffic and times the answers.",
    Step.UPLOAD: "Stores what the trial left behind; its record last.",
    Step.TEARDOWN: "Takes down what the next trial does not want.",
}


def step_actions(settings: Settings) -> dict[Step, Object]:
    """Make the StepAction of each step."""
    return {
        step: by_content(
            STEP_ACTION, f"llmatrix-{step.value}", settings.namespace, _spec(step, settings)
        )
        for step in Step
    }


def _spec(step: Step, settings: Settings) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "description": f"{_DOES[step]} What is already as the trial wants it is left as it is.",
        "image": settings.image,
        "command": PROGRAM,
        "args": ["step", step.value, "--work", WORK, "--told", _TOLD],
        "results": [{"name": name, "type": "string"} for name in _results(step)],
        "securityContext": security(settings),
    }
    if step is Step.NAMESPACE:
        # Only the first is given the documents; it leaves them in the work folder for the others.
        spec["params"] = [
            {"name": "trial", "type": "string"},
            {"name": "orders", "type": "string"},
            {"name": "picks", "type": "array", "default": []},
        ]
        given = ["--trial", "$(params.trial)", "--orders", "$(params.orders)"]
        spec["args"] = [*spec["args"], *given, "$(params.picks[*])"]
    if step in WITH_ENV and settings.env:
        spec["env"] = environment(settings.env)
    return spec


def _results(step: Step) -> tuple[str, ...]:
    own = (told.OUTCOME, told.DETAIL)
    return (*own, *told.RESULTS) if step is Step.UPLOAD else own
