"""``llmatrix pull``: copy an experiment from a store into a folder."""

from __future__ import annotations

import click


@click.command("pull")
@click.argument("place", metavar="URL")
@click.argument("store", required=False, default="results", metavar="[DIR]")
@click.option("--force", is_flag=True, help="Replace what is there and differs.")
def command(place: str, store: str, *, force: bool) -> int:
    """Copy an experiment from a store into a folder.

    URL is an experiment in a store, such as s3://bucket/team/quickstart; DIR is the folder of
    stores that it goes into, default results/: the experiment becomes results/quickstart. Files
    are checked by their sha256. Stopped, the same command goes on.
    """
    from llmatrix.cli.push import copy  # noqa: PLC0415 - the same, told the other way round

    return copy(place, store, "llmatrix pull", force=force)
