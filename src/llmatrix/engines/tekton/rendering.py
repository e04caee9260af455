"""Compiled objects as files, for people who apply them with kubectl or keep them in Git."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from llmatrix.cluster import yaml_text
from llmatrix.cluster.kinds import Object
from llmatrix.engines.tekton.compile import Compiled
from llmatrix.engines.tekton.submitter import SUBMITTER, submitter

MADE: Final = "# Made by: llmatrix tekton render"
"""How every file begins; one that does is ours to overwrite or remove."""
ROLES: Final = "roles.yaml"
SUBMITTERS: Final = "submitter.yaml"
STEP_ACTIONS: Final = "stepactions.yaml"
TASKS: Final = "task.yaml"
CLAIM: Final = "results-claim.yaml"
CARRIED: Final = "carried.yaml"
_APPLY: Final = "kubectl apply"
_APPLY_RUN: Final = "kubectl apply --server-side"
"""Client-side, kubectl would keep a second copy of the object in an annotation of it, and that is
too short for a long PipelineRun."""


def files(compiled: Compiled, how: Sequence[str]) -> dict[str, str]:
    """Write the files, by name.

    Args:
        compiled: what to write.
        how: the words after ``llmatrix tekton render``, for the comment on top.
    """
    words = " ".join([MADE, *map(shlex.quote, how)])
    made = "".join(each if each.isprintable() else " " for each in words)
    home = compiled.settings.namespace
    bind = f"kubectl -n {home} create rolebinding {SUBMITTER} --role={SUBMITTER} --user=NAME"
    bind_sites = f"kubectl create clusterrolebinding {SUBMITTER} --clusterrole={SUBMITTER}"
    people = ["The rights of who submits, follows and cancels. Bind them to people:", bind]
    if not compiled.settings.namespaced:
        people.append(f"{bind_sites} --user=NAME")
    written = {
        ROLES: _text(
            compiled.account_and_roles,
            made,
            ["The account of the steps and its rights. Applied once, by somebody who has them."],
        ),
        SUBMITTERS: _text(submitter(compiled.settings), made, people),
        STEP_ACTIONS: _text(compiled.stepactions, made, ["The eight steps."]),
        TASKS: _text(compiled.tasks, made, ["A trial, which is the eight steps; a lane's close."]),
    }
    if compiled.claim is not None:
        written[CLAIM] = _text([compiled.claim], made, ["Where the records are kept."])
    if compiled.carried:
        what = "What its trials need of charts and files, compressed; steps read it from here."
        written[CARRIED] = _text(compiled.carried, made, [what])
    for name, run in _pipeline_runs(compiled).items():
        trials = "One lane, or a part of it. Applied again, it changes nothing: it runs once."
        written[name] = _text([run], made, [trials])
    return written


def commands(compiled: Compiled, folder: Path) -> list[str]:
    """Give the commands by which people apply the files and follow what they do."""
    runs = list(_pipeline_runs(compiled))
    home = compiled.settings.namespace

    def place(name: str) -> str:
        return shlex.quote(str(folder / name))

    claim = f"-f {place(CLAIM)} " if compiled.claim is not None else ""
    if len(runs) == 1:
        start = f"{_APPLY_RUN} -f {place(runs[0])}"
    else:  # kubectl takes a folder, in which there is more, or one file at a time
        start = f"cat {shlex.quote(str(folder))}/pipelinerun-*.yaml | {_APPLY_RUN} -f -"
    first = compiled.pipelineruns[0][0]["metadata"]["name"]
    carried = [f"{_APPLY_RUN} -f {place(CARRIED)}"] if compiled.carried else []
    return [
        f"{_APPLY} -f {place(ROLES)}",
        *carried,
        f"{_APPLY} {claim}-f {place(STEP_ACTIONS)}",
        f"{_APPLY} -f {place(TASKS)}",
        start,
        f"tkn pipelinerun logs --follow {first} -n {home}",
    ]


def _pipeline_runs(compiled: Compiled) -> dict[str, Object]:
    several = any(len(lane) > 1 for lane in compiled.pipelineruns)
    return {
        f"pipelinerun-{number:02d}{f'-{part:03d}' if several else ''}.yaml": run
        for number, lane in enumerate(compiled.pipelineruns)
        for part, run in enumerate(lane)
    }


def _text(objects: Sequence[Object], made: str, comments: Sequence[str]) -> str:
    head = "".join(f"{line}\n" for line in (made, *(f"# {each}" for each in comments)))
    return head + yaml_text.text(objects)
