"""``llmatrix push``: copy an experiment into another store."""

from __future__ import annotations

from collections import Counter

import click

from llmatrix.errors import LlmatrixError


@click.command("push")
@click.argument("place", metavar="DIR")
@click.argument("store", metavar="STORE")
@click.option("--force", is_flag=True, help="Replace what is there and differs.")
def command(place: str, store: str, *, force: bool) -> int:
    """Copy an experiment into another store.

    DIR is an experiment's folder or URL, such as results/quickstart; STORE is where records are
    kept, such as s3://bucket/team: the experiment becomes s3://bucket/team/quickstart. Files are
    checked by their sha256. Stopped, the same command goes on.
    """
    return copy(place, store, "llmatrix push", force=force)


def copy(place: str, store: str, told_as: str, *, force: bool) -> int:
    """Copy an experiment and tell what became of its trials; give the exit code.

    Raises:
        UserError: there is no such experiment or store.
        StoreFault: a store cannot be read or written.
    """
    from pathlib import Path  # noqa: PLC0415 - not for --help

    from llmatrix.results.folder import open_store  # noqa: PLC0415
    from llmatrix.results.places import find_experiment, join  # noqa: PLC0415
    from llmatrix.results.transfer import copy_experiment  # noqa: PLC0415

    target = open_store(store, folder=Path())
    source, name = find_experiment(place, command=told_as)
    outcomes: Counter[str] = Counter()
    for moved in copy_experiment(source, name, target, force=force):
        if moved.problem:
            click.echo(f"warning: {moved.problem}", err=True)
        if moved.name != "experiment.json" or moved.outcome in {"kept", "refused"}:
            outcomes[moved.outcome] += 1
    told = [f"{outcomes['copied']} trials copied", f"{outcomes['same']} were there already"]
    if outcomes["kept"]:
        told.append(f"{outcomes['kept']} differ and were left as they are")
    if outcomes["refused"]:
        told.append(f"{outcomes['refused']} are damaged and were not copied")
    click.echo(f"{join(target.url, name)}: {'; '.join(told)}")
    return LlmatrixError.exit_code if outcomes["kept"] or outcomes["refused"] else 0
