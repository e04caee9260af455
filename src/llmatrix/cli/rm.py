"""``llmatrix rm``: remove an experiment from a store."""

from __future__ import annotations

import click

from llmatrix.errors import UserError


@click.command("rm")
@click.argument("place", metavar="DIR")
@click.option("--yes", is_flag=True, help="Remove it; without this, only tell what would go.")
def command(place: str, *, yes: bool) -> None:
    """Remove an experiment, its records and all, from a store.

    DIR is the experiment's own folder or URL, such as s3://bucket/team/quickstart. What is
    removed cannot be brought back.
    """
    from llmatrix.results.places import find_experiment, join  # noqa: PLC0415 - not for --help
    from llmatrix.results.transfer import remove_experiment  # noqa: PLC0415

    store, name = find_experiment(place, command="llmatrix rm")
    whole = join(store.url, name)
    if place.partition("?")[0].rstrip("/").rpartition("/")[2] != name:
        raise UserError(f"{place} is a store; name the experiment itself: llmatrix rm {whole}")
    if not yes:
        sizes = store.sizes(f"{name}/")
        raise UserError(
            f"{whole} has {len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB, which could not "
            f"be brought back; nothing was removed, add --yes to remove them"
        )
    click.echo(f"{whole}: {remove_experiment(store, name)} files removed")
