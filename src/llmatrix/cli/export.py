"""``llmatrix export``: a table of an experiment as one file, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from llmatrix.results.dataset import Dataset


@click.command("export")
@click.argument("place", required=False, default="results", metavar="[DIR]")
@click.option("--parquet", metavar="FILE", type=click.Path(path_type=Path), help="Write Parquet.")
@click.option("--csv", metavar="FILE", type=click.Path(path_type=Path), help="Write CSV.")
@click.option(
    "--table",
    type=click.Choice(["trials", "requests"]),
    default="trials",
    show_default=True,
    help="Which table.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(
    place: str,
    parquet: Path | None,
    csv: Path | None,
    table: Literal["trials", "requests"],
    *,
    force: bool,
) -> None:
    """Write an experiment's table of trials (or requests) as one file.

    DIR is an experiment's folder or URL, or a store with one experiment; default: results/.
    """
    from llmatrix.errors import UserError  # noqa: PLC0415 - not for --help
    from llmatrix.results.dataset import load  # noqa: PLC0415
    from llmatrix.results.export import Form, export  # noqa: PLC0415
    from llmatrix.results.places import find_experiment  # noqa: PLC0415

    wanted: list[tuple[Form, Path]] = []
    if parquet is not None:
        wanted.append(("parquet", parquet))
    if csv is not None:
        wanted.append(("csv", csv))
    if not wanted:
        raise click.UsageError("say where to: --parquet FILE, --csv FILE or both")
    for _, path in wanted:
        if path.exists() and not force:
            raise UserError(f"{path} is there already; name another file, or replace it by --force")
    dataset = load(*find_experiment(place, command="llmatrix export"))
    for form, path in wanted:
        rows = export(dataset, table, form, path)
        click.echo(f"{path}: {rows} rows of {table}")
    for problem in (*dataset.problems, *_left_out(dataset, table)):
        click.echo(f"warning: {problem}", err=True)


def _left_out(dataset: Dataset, table: str) -> tuple[str, ...]:
    return dataset.request_problems() if table == "requests" else ()
