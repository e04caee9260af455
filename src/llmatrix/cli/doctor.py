"""``llmatrix doctor``: whether a cluster can run an experiment, and what to mend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from llmatrix.cli.cluster_options import cluster_options, home_of
from llmatrix.cli.printable import printable
from llmatrix.errors import EnvironmentFault

if TYPE_CHECKING:
    from llmatrix.cluster.api import Cluster
    from llmatrix.engines.tekton.doctor import Answer
    from llmatrix.plan.build import Plan

_PATIENCE_S: Final = 3.0
"""A dead cluster is told soon: a doctor does not wait for it to come back."""


@click.command
@click.argument("file", type=click.Path(path_type=Path), required=False)
@cluster_options
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
def command(file: Path | None, namespace: str | None, context: str | None, *, as_json: bool) -> int:
    """Tell whether a cluster can run an experiment, and what to mend.

    With FILE, what its stack and store want is looked at, too. Nothing is changed. Ends with 3 if
    something is wrong.
    """
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - only now is a cluster asked
    from llmatrix.engines.tekton.doctor import Verdict  # noqa: PLC0415

    plan = None if file is None else _plan(file)
    with Cluster.connect(context, patience_s=_PATIENCE_S) as cluster:
        answers: list[Answer] = []
        for answer in _examine(cluster, plan, namespace):
            answers.append(answer)
            if not as_json:
                click.echo(_line(answer))
                if answer.mend:
                    click.echo(f"{'':9}mend: {answer.mend}")
    if as_json:
        click.echo(json.dumps([each.document() for each in answers], indent=2, ensure_ascii=False))
    bad = any(each.verdict is Verdict.WRONG for each in answers)
    return EnvironmentFault.exit_code if bad else 0


def _plan(file: Path) -> Plan:
    from llmatrix.cli.preflight import preflight  # noqa: PLC0415
    from llmatrix.cli.prepare import prepare  # noqa: PLC0415

    plan = prepare(file, ("run.engine=tekton",), ()).plan
    preflight(plan, "tekton")
    return plan


def _examine(cluster: Cluster, plan: Plan | None, namespace: str | None) -> Iterator[Answer]:
    from llmatrix.cluster import facts, users  # noqa: PLC0415
    from llmatrix.cluster.faults import Unreachable  # noqa: PLC0415
    from llmatrix.engines.tekton import doctor_cluster, doctor_experiment  # noqa: PLC0415
    from llmatrix.engines.tekton.doctor import Asked, examine, wrong  # noqa: PLC0415
    from llmatrix.engines.tekton.settings import resolved  # noqa: PLC0415
    from llmatrix.results.claim import default_image  # noqa: PLC0415

    home = home_of(cluster, None if plan is None else plan.experiment, namespace)
    try:
        openshift = users.chosen_by(cluster)
        found = facts.tekton(cluster)
    except Unreachable as error:
        yield wrong("cluster", str(error), "kubectl cluster-info")
        return
    settings = None
    if plan is not None:
        settings = resolved(plan, namespace=home, image=default_image(), openshift=openshift)
    asked = Asked(cluster, home, found, openshift, plan, settings)
    rest = doctor_cluster.SURVEY if plan is None else doctor_experiment.QUESTIONS
    yield from examine(asked, (*doctor_cluster.QUESTIONS, *rest))


def _line(answer: Answer) -> str:
    colour = {"ok": "green", "warning": "yellow", "wrong": "red"}[answer.verdict]
    word = click.style(f"{answer.verdict:<8}", fg=colour)
    return f"{word} {answer.about}: {printable(answer.told)}"
