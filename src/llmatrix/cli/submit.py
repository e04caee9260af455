"""``llmatrix submit``: put what is missing of an experiment on a cluster, and come back."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from llmatrix.cli.options import experiment_options, strict_option
from llmatrix.cli.plan import summary
from llmatrix.cli.prepare import Prepared, prepare
from llmatrix.cli.wording import counted


@click.command("submit")
@experiment_options
@strict_option
@click.option("--fresh", is_flag=True, help="Measure every trial again, also those with a record.")
def command(
    file: Path, overrides: tuple[str, ...], only: tuple[str, ...], *, strict: bool, fresh: bool
) -> int:
    """Submit what is missing of an experiment to a cluster, and leave it to run there.

    The cluster is the one that the kubeconfig names. `llmatrix run FILE --engine tekton` watches
    what was submitted and collects what it leaves; nothing is submitted twice.
    """
    prepared = prepare(file, (*overrides, "run.engine=tekton"), only, strict=strict)
    return _submit(prepared, fresh=fresh)


def _submit(prepared: Prepared, *, fresh: bool) -> int:
    from llmatrix.cli.preflight import preflight  # noqa: PLC0415 - each verb imports what it needs
    from llmatrix.cli.run import with_earlier, write_manifest_of  # noqa: PLC0415
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415
    from llmatrix.engines.tekton.engine import aim, start, under_way  # noqa: PLC0415
    from llmatrix.results.folder import open_store  # noqa: PLC0415

    plan, experiment = prepared.plan, prepared.plan.experiment
    preflight(plan, "tekton")
    store = open_store(experiment.results.store, folder=prepared.loaded.path.parent)
    done = frozenset() if fresh else with_earlier(prepared, store)
    for line in summary(plan):
        click.echo(line, err=True)
    missing = [trial for trial in plan if trial.id not in done]
    again = shlex.join(["llmatrix", "run", str(prepared.loaded.path), "--engine", "tekton"])
    if not missing:
        click.echo(f"every trial has a record; nothing to submit. Look: {again}", err=True)
        return 0
    write_manifest_of(prepared, store)
    with Cluster.connect() as cluster:
        target = aim(cluster, plan)
        if going := under_way(target):
            click.echo(
                f"{counted(going, 'PipelineRun')} of this experiment are under way in namespace "
                f"{target.settings.namespace}; watch them, then submit what is missing: {again}",
                err=True,
            )
            return 0
        made = start(target, missing, say=lambda text: click.echo(text, err=True))
        namespace = target.settings.namespace
    click.echo(
        f"{counted(len(missing), 'trial')} submitted as {counted(made, 'PipelineRun')} in "
        f"namespace {namespace}; nothing here needs to stay on",
        err=True,
    )
    click.echo(f"follow: tkn pipelinerun list -n {namespace}", err=True)
    click.echo(f"watch and collect: {again}", err=True)
    return 0
