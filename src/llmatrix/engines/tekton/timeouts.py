"""How long Tekton lets things take: so generous that only what hangs is ended.

Tekton's own default is an hour for a whole PipelineRun. What ``finally`` does is cut short when
the time of the tasks is up (tektoncd/pipeline #8982), so that time is the sum of what each task
may take, and ends after every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmatrix.plan.estimate import ASSUMED_STEP_S
from llmatrix.plan.trial import Trial
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stacks import SimulatedStack

_FACTOR: Final = 3.0
_STARTING_S: Final = 600.0
"""Of a trial's pod, with an image that must be fetched first."""
_CLOSING_S: Final = 1200.0
"""Taking a site down, and waiting until it is gone."""
_AGAIN: Final = 5
"""So many trials can be run again in ``finally``, the longest ones."""
_BETWEEN_S: Final = 60.0
"""Between two tasks, for Tekton itself."""


def trial_s(trial: Trial, retries: int) -> int:
    """Give the seconds that a trial may take, every step applied and every try used."""
    stack = trial.treatment.stack
    setting_up = sum(ASSUMED_STEP_S[stack.kind].values())
    if isinstance(stack, SimulatedStack):
        setting_up += stack.engine.startup
    elif isinstance(stack, LlmdStack):
        setting_up += stack.server.startup
        setting_up += stack.model.timeout if stack.model.source == "huggingface" else 0.0
    return round(_FACTOR * (trial.estimate_s + setting_up) * (retries + 1) + _STARTING_S)


def waiting_s(seconds: Sequence[int], slots: int) -> int:
    """Give the seconds that each of some trials may take that begin together and share slots."""
    return -(-len(seconds) // slots) * max(seconds)


def written(tasks_s: Sequence[int], trials_s: Sequence[int]) -> dict[str, str]:
    """Give the ``timeouts`` of a PipelineRun.

    Args:
        tasks_s: seconds of each of its tasks, which run one after another.
        trials_s: seconds of each trial, for those that ``finally`` runs again.
    """
    tasks = round(sum(tasks_s) + _BETWEEN_S * (len(tasks_s) + 1))
    last = closing_s(trials_s)
    return {
        "pipeline": duration(tasks + last),
        "tasks": duration(tasks),
        "finally": duration(last),
    }


def closing_s(trials_s: Sequence[int]) -> int:
    """Give the seconds of ``finally``."""
    return round(sum(sorted(trials_s)[-_AGAIN:]) + _CLOSING_S)


def duration(seconds: int) -> str:
    """Write seconds as Go reads and writes them: ``1h2m3s``."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h{minutes}m{left}s" if hours else f"{minutes}m{left}s"
