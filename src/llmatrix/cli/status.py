"""``llmatrix status``: how far an experiment is, and what stands, here or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from llmatrix.cli.cluster_options import cluster_options
from llmatrix.cli.options import experiment_options
from llmatrix.cli.prepare import prepare
from llmatrix.cli.printable import printable
from llmatrix.plan.build import Plan
from llmatrix.results.store import Store


@click.command
@experiment_options
@click.option("--engine", metavar="NAME", help="Look where this engine runs, not the file's.")
@cluster_options
def command(
    file: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    engine: str | None,
    namespace: str | None,
    context: str | None,
) -> None:
    """Tell how far an experiment is, and what stands.

    With the engine `tekton`, or one of --namespace and --context: what each lane does on the
    cluster. Else: what stands on this machine.
    """
    from llmatrix.results.folder import open_store  # noqa: PLC0415 - only when a file is given

    if engine is None and (namespace or context):
        engine = "tekton"
    if engine is not None:
        overrides = (*overrides, f"run.engine={engine}")
    prepared = prepare(file, overrides, only)
    store = open_store(prepared.plan.experiment.results.store, folder=prepared.loaded.path.parent)
    for line in _records(prepared.plan, store):
        click.echo(line)
    if prepared.plan.experiment.run.engine == "tekton":
        from llmatrix.cli.cluster_status import cluster_lines  # noqa: PLC0415

        standing = cluster_lines(prepared.plan, namespace, context)
    else:
        standing = _standing()
    for line in standing:
        click.echo(line)


def _records(plan: Plan, store: Store) -> Iterator[str]:
    from llmatrix.cli.wording import counted, levels, verdict  # noqa: PLC0415
    from llmatrix.results.dataset import load  # noqa: PLC0415

    name = plan.experiment.name
    dataset = load(store, name)
    records = {record.trial: record for record in dataset.records}
    failures = {failure.trial: failure for failure in dataset.failures}
    valid, invalid, failed, missing = 0, [], [], 0
    for trial in plan:
        told = f"{trial.id[:8]} {levels(trial)}"
        if record := records.get(trial.id):
            if record.valid:
                valid += 1
            else:
                invalid.append(f"{told}: {verdict(record)}")
        elif failure := failures.get(trial.id):
            failed.append(f"{told}: {verdict(failure)}")
        elif problem := next((p for p in dataset.problems if f"/{trial.id}/" in p), None):
            failed.append(printable(problem))
        else:
            missing += 1
    yield (
        f"{name}: {counted(len(plan), 'trial')}: {valid} valid, {len(invalid)} invalid, "
        f"{len(failed)} failed, {missing} missing"
    )
    yield from (f"  {line}" for line in (*invalid, *failed))
    if missing or failed:
        yield "  `llmatrix run` measures what is missing or failed"


def _standing() -> Iterator[str]:
    from llmatrix.stacks.local_site import sites  # noqa: PLC0415

    for site in sites():
        holder = site.holder()
        if holder is not None:
            yield f"{site.name}: a run is going on (pid {holder})"
        elif site.kept:
            yield f"{site.name}: kept up; `llmatrix gc --kept` ends it"
        else:
            yield f"{site.name}: left by an interrupted run; run it again, or `llmatrix gc`"
