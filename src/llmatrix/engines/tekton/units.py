"""Trials as tasks of a pipeline: a chain of them, or a native matrix."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.engines.tekton import timeouts
from llmatrix.engines.tekton.factorial import Factorial
from llmatrix.engines.tekton.pipelineruns import MOST_BYTES, Unit, workspaces
from llmatrix.engines.tekton.settings import Settings
from llmatrix.engines.tekton.shown import levels_annotation, treatment
from llmatrix.errors import UserError
from llmatrix.plan.document import encode_trials
from llmatrix.plan.trial import Trial

LONGEST_DOCUMENT: Final = 120_000
"""Characters: Linux takes no argument of a program that is longer than 128 KiB."""
_TREATMENT: Final = "treatment"


def chain(trials: Sequence[Trial], settings: Settings, *, task: str) -> Iterator[Unit]:
    """Give each trial a task of its own; they run one after another, whatever becomes of each.

    Tekton's ``retries`` are not asked for: its webhook refuses them beside ``onError: continue``.
    """
    for position, trial in enumerate(trials, start=1):
        seconds = timeouts.trial_s(trial, settings.retries)
        shown = treatment(trial)
        document = {
            "name": f"t{position:04d}-{trial.id[:8]}",
            "displayName": shown,
            **_common(task, seconds, settings),
            "params": [*_params(document_of([trial])), {"name": _TREATMENT, "value": shown}],
        }
        yield Unit(
            document,
            (trial,),
            seconds,
            labels={labels.TRIAL: trial.id},
            annotations={labels.LEVELS: levels_annotation(trial.levels)},
        )


def whole_matrix(
    trials: Sequence[Trial], factorial: Factorial, settings: Settings, *, task: str
) -> Unit:
    """Make one task with a native matrix of plain params, one for each factor.

    All the trials travel in one document; the levels say which of them a TaskRun is.
    """
    seconds = _together_s(trials, settings)
    document = {
        "name": "trials",
        **_common(task, seconds, settings),
        "params": _params(encode_trials(trials)),
        "matrix": {"params": factorial.params()},
    }
    return Unit(document, tuple(trials), seconds)


def included_matrices(trials: Sequence[Trial], settings: Settings, *, task: str) -> Iterator[Unit]:
    """Make tasks with a native matrix that names each combination, where params cannot say it.

    Each has at most as many combinations as the cluster allows, and fits a PipelineRun.
    """
    for number, group in enumerate(_groups(trials, settings.combinations), start=1):
        seconds = _together_s([trial for trial, _ in group], settings)
        document = {
            "name": f"trials-{number}",
            **_common(task, seconds, settings),
            "params": _params(None),
            "matrix": {"include": [combination for _, combination in group]},
        }
        yield Unit(document, tuple(trial for trial, _ in group), seconds)


def document_of(trials: Sequence[Trial]) -> str:
    """Write trials as a document that can be given to a program as an argument.

    Raises:
        UserError: it is too long for that.
    """
    document = encode_trials(trials)
    if len(document) > LONGEST_DOCUMENT:
        raise UserError(
            f"the trial ({treatment(trials[0])}) is a document of {len(document):,} characters, "
            f"and a step of a pipeline can be given {LONGEST_DOCUMENT:,}; make the files that it "
            f"names smaller."
        )
    return document


def _groups(trials: Sequence[Trial], limit: int) -> Iterator[list[tuple[Trial, dict[str, Any]]]]:
    group: list[tuple[Trial, dict[str, Any]]] = []
    taken = 0
    for trial in trials:
        params = [
            {"name": "trial", "value": document_of([trial])},
            {"name": _TREATMENT, "value": treatment(trial)},
        ]
        combination = {"name": f"t-{trial.id[:8]}", "params": params}
        size = len(json.dumps(combination))
        if group and (len(group) == limit or taken + size > MOST_BYTES * 0.9):
            yield group
            group, taken = [], 0
        group.append((trial, combination))
        taken += size
    yield group


def _together_s(trials: Sequence[Trial], settings: Settings) -> int:
    """Give the seconds for trials that Tekton starts together, and that wait for one another."""
    seconds = [timeouts.trial_s(trial, settings.retries) for trial in trials]
    return timeouts.waiting_s(seconds, settings.parallelism)


def _common(task: str, seconds: int, settings: Settings) -> dict[str, Any]:
    return {
        "taskRef": {"kind": "Task", "name": task},
        "onError": "continue",
        "timeout": timeouts.duration(seconds),
        **workspaces(settings),
    }


def _params(trial: str | None) -> list[dict[str, str]]:
    own = [] if trial is None else [{"name": "trial", "value": trial}]
    return [*own, {"name": "orders", "value": "$(params.orders)"}]
