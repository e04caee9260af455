"""``llmatrix cancel``: end an experiment on a cluster, and see that nothing of it stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from llmatrix.cli.cluster_options import (
    cluster_options,
    home_of,
    named_experiment,
    stop_on_interrupt,
)
from llmatrix.cli.printable import printable
from llmatrix.errors import EnvironmentFault

if TYPE_CHECKING:
    from llmatrix.engines.tekton.cancel import Ending


@click.command
@click.argument("experiment", metavar="FILE|EXPERIMENT")
@cluster_options
@click.option("--keep-runs", is_flag=True, help="Leave the ended PipelineRuns, to look at by tkn.")
def command(experiment: str, namespace: str | None, context: str | None, *, keep_runs: bool) -> int:
    """End an experiment on a cluster, and see that nothing of it stands.

    Trials under way are given up, what stands is taken down, and the PipelineRuns are removed.
    Records are kept, wherever they are: `llmatrix run` goes on with what is missing. To cancel
    again is harmless.
    """
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - only now is a cluster asked
    from llmatrix.engines.tekton.cancel import cancel  # noqa: PLC0415

    name, loaded = named_experiment(experiment)
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:4.0f} s  {printable(text)}", err=True)

    with Cluster.connect(context, patience_s=20.0) as cluster, stop_on_interrupt() as stop:
        home = home_of(cluster, loaded, namespace)
        ending = cancel(cluster, home, name, keep_runs=keep_runs, say=say, stop=stop)
    _tell(ending, name, home, time.monotonic() - began)
    return 0


def _tell(ending: Ending, name: str, home: str, took_s: float) -> None:
    for claim in ending.claims:
        click.echo(
            f"the claim {claim} keeps its records; copy them with: "
            f"llmatrix pull pvc://{home}/{claim} FOLDER; then it goes with: "
            f"kubectl delete pvc {claim} -n {home}"
        )
    for each in ending.unseen:
        click.echo(f"warning: {printable(each)}; nothing can be said about those", err=True)
    if ending.left:
        told = "; ".join(printable(each) for each in ending.left)
        raise EnvironmentFault(
            f"{name}: could not remove: {told}. Cancel again, or ask who may remove them"
        )
    if ending.nothing:
        click.echo(f"{name}: nothing runs or stands in namespace {home}")
        return
    told = f"{ending.ended} ended, {ending.dropped} dropped, {ending.removed} removed"
    seen = " that you may see" if ending.unseen else ""
    click.echo(f"{name}: PipelineRuns: {told}; after {took_s:.0f} s nothing{seen} stands any more")
