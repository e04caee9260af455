"""``llmatrix gc``: remove what interrupted or kept runs left standing, here or on a cluster."""

from __future__ import annotations

import time

import click

from llmatrix.cli.cluster_options import cluster_options, home_of, stop_on_interrupt
from llmatrix.cli.printable import printable
from llmatrix.errors import EnvironmentFault


@click.command
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--kept", is_flag=True, help="Also what `llmatrix run --keep` left up on purpose.")
@click.option("--cluster", "on_cluster", is_flag=True, help="Look on the cluster, not here.")
@cluster_options
@click.option(
    "--experiment", metavar="NAME", help="On the cluster: only this, expired or not; never a run."
)
def command(
    *,
    dry_run: bool,
    kept: bool,
    on_cluster: bool,
    namespace: str | None,
    context: str | None,
    experiment: str | None,
) -> None:
    """Remove what interrupted or kept runs left standing.

    On this machine: sites that a living llmatrix holds are never touched, and processes are ended
    by recorded identity, never by name. With --cluster, --context, --namespace or --experiment, on
    a cluster: what has expired and what no PipelineRun looks after, and only what llmatrix made
    for runs of that namespace; without --experiment also the rights in the cluster of accounts
    whose namespace was deleted.
    """
    if on_cluster or namespace or context or experiment:
        _on_cluster(namespace, context, experiment, dry_run=dry_run, kept=kept)
    else:
        _here(dry_run=dry_run, kept=kept)


def _here(*, dry_run: bool, kept: bool) -> None:
    from llmatrix.stacks.local_site import sites, sweep  # noqa: PLC0415 - only this verb needs it

    found = [s for s in sites() if s.holder() is None and (kept or not s.kept)]
    left: list[str] = []
    for site in found:
        if dry_run:
            click.echo(f"would remove {site.name}")
            continue
        problems = sweep(site, kept=kept)
        left += problems
        if not problems:
            click.echo(f"removed {site.name}")
    if not found:
        click.echo("nothing is left standing")
    _raise_if(left)


def _on_cluster(
    namespace: str | None,
    context: str | None,
    experiment: str | None,
    *,
    dry_run: bool,
    kept: bool,
) -> None:
    from llmatrix.cli.cluster_options import named_experiment  # noqa: PLC0415
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - only now is a cluster asked
    from llmatrix.engines.tekton import gc, unwanted  # noqa: PLC0415

    name, loaded = (None, None) if experiment is None else named_experiment(experiment)
    with Cluster.connect(context, patience_s=20.0) as cluster, stop_on_interrupt() as stop:
        home = home_of(cluster, loaded, namespace)
        of = gc.of_experiment(name)
        seen, unseen = gc.look(cluster, home, of)
        decision = unwanted.decide(seen, time.time(), of, with_kept=kept)
        for each in unseen:
            click.echo(f"warning: {printable(each)}", err=True)
        for going in decision.going:
            click.echo(f"{going}: a run is going on; `llmatrix cancel {going}` ends it")
        for site in decision.kept:
            click.echo(f"site {site}: kept up; with --kept it goes now, else once it has expired")
        if dry_run:
            for run in decision.end:
                click.echo(f"would end PipelineRun {run.name}: it has expired")
            for doomed in decision.remove:
                click.echo(f"would remove {doomed.told}: {doomed.why}")
        left = [] if dry_run else gc.carry_out(cluster, home, decision, say=click.echo, stop=stop)
    if not decision.remove and not decision.end and not decision.kept:
        click.echo(f"nothing is left standing in or for namespace {home}")
    _raise_if(left)


def _raise_if(left: list[str]) -> None:
    if left:
        raise EnvironmentFault("could not remove: " + "; ".join(printable(each) for each in left))
