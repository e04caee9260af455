"""An OpenAI-compatible endpoint that somebody else runs: it is checked, never changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Set as AbstractSet
from typing import ClassVar

from llmatrix.errors import EnvironmentFault, FailureClass, StepFailure, UserError
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.stacks import EndpointStack
from llmatrix.stacks import serving
from llmatrix.stacks.http import Unreachable
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.site import Site
from llmatrix.target import Target


class Endpoint:
    """Implements ``protocol.Stack`` for a URL; every step of the stack is somebody else's."""

    kind: ClassVar[str] = "endpoint"
    version: ClassVar[str] = "1"

    def check(self, treatment: Treatment) -> None:
        """Find nothing wrong: only the endpoint itself can tell."""

    def preflight(self, treatment: Treatment) -> None:
        stack = _section(treatment)
        try:
            served = serving.served_models(stack.url, _api_key(stack))
        except Unreachable as error:
            raise EnvironmentFault(f"{error}; is the endpoint up?") from error
        except serving.NotServing as error:
            raise UserError(str(error)) from error
        if wrong := serving.wrong_model(stack.url, treatment.model.name, served):
            raise UserError(f"{wrong}; write one of these as model.name")

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        del step, trial, site
        return True  # no step is ours, so nothing of ours can be broken

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        """Do nothing: what stands there is somebody else's."""

    def target(self, trial: Trial, site: Site) -> Target:
        del site
        stack = _section(trial.treatment)
        model = trial.treatment.model.name
        try:
            served = serving.served_models(stack.url, _api_key(stack))
        except Unreachable as error:
            raise StepFailure(str(error), FailureClass.ENVIRONMENT) from error
        except (serving.NotServing, UserError) as error:
            raise StepFailure(str(error), FailureClass.USER) from error
        if wrong := serving.wrong_model(stack.url, model, served):
            raise StepFailure(wrong, FailureClass.USER)
        return Target(
            base_url=stack.url,
            model=model,
            api_key_env=stack.api_key_env,
            metrics_urls=stack.metrics_urls,
            simulated=serving.is_simulated(stack.url, _api_key(stack)),
        )

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        del site, changed
        stack = _section(trial.treatment)
        if not stack.reset_prefix_cache:
            return Hygiene(
                clean=None,
                detail=f"{stack.url} was not asked to drop its prefix cache "
                "(stack.reset_prefix_cache is false)",
            )
        try:
            found = serving.reset_prefix_cache(stack.url, _api_key(stack))
        except UserError as error:
            return Hygiene(clean=False, detail=str(error))
        if found.clean and len(stack.metrics_urls) > 1:
            servers = len(stack.metrics_urls)
            detail = f"{found.detail}, but it reached one of {servers} servers; which, is not known"
            return Hygiene(clean=None, detail=detail)
        return found

    def restarts(self, trial: Trial, site: Site) -> int:
        del trial, site
        return 0

    def endings(self, trial: Trial, site: Site) -> list[str]:
        del trial, site
        return []

    def logs(self, site: Site) -> dict[str, str]:
        del site
        return {}

    def remove(self, site: Site) -> list[str]:
        del site
        return []


def _section(treatment: Treatment) -> EndpointStack:
    if not isinstance(treatment.stack, EndpointStack):
        raise TypeError(f"a stack of kind {treatment.stack.kind} is no endpoint")
    return treatment.stack


def _api_key(stack: EndpointStack) -> str | None:
    """Read the key from the environment.

    Raises:
        UserError: the variable is not set.
    """
    if stack.api_key_env is None:
        return None
    key = os.environ.get(stack.api_key_env)
    if not key:
        raise UserError(
            f"stack.api_key_env names the environment variable {stack.api_key_env}, "
            f"which is not set; set it with: export {stack.api_key_env}=…"
        )
    return key
