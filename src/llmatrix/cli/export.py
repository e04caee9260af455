"""``llmatrix export``: an experiment for other programs, as tables or trial by trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from llmatrix.cli.printable import printable
from llmatrix.errors import UserError

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
@click.option(
    "--benchmark-report",
    "reports",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Write each trial as llm-d's Benchmark Report v0.2.1.",
)
@click.option(
    "--mlflow", metavar="URI", help="Log each trial as a run of an MLflow server or file."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(
    place: str,
    parquet: Path | None,
    csv: Path | None,
    table: Literal["trials", "requests"],
    reports: Path | None,
    mlflow: str | None,
    *,
    force: bool,
) -> None:
    """Write an experiment for other programs: a table as one file, or one report for each trial.

    DIR is an experiment's folder or URL, or a store with one experiment; default: results/.
    """
    from llmatrix.results.dataset import load  # noqa: PLC0415 - not for --help
    from llmatrix.results.export import Form, export  # noqa: PLC0415
    from llmatrix.results.places import find_experiment  # noqa: PLC0415

    wanted: list[tuple[Form, Path]] = []
    if parquet is not None:
        wanted.append(("parquet", parquet))
    if csv is not None:
        wanted.append(("csv", csv))
    if not wanted and reports is None and mlflow is None:
        raise click.UsageError(
            "say where to: --parquet FILE, --csv FILE, --benchmark-report FOLDER or --mlflow URI"
        )
    if not force:
        _check_free([path for _, path in wanted], reports)
    dataset = load(*find_experiment(place, command="llmatrix export"))
    problems = list(dataset.problems)
    for form, path in wanted:
        rows = export(dataset, table, form, path)
        click.echo(f"{path}: {rows} rows of {table}")
    if wanted and table == "requests":
        problems += dataset.request_problems()
    if reports is not None:
        problems += _write_reports(dataset, reports)
    if mlflow is not None:
        _log_runs(dataset, mlflow)
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)


def _check_free(files: list[Path], folder: Path | None) -> None:
    for path in files:
        if path.exists():
            raise UserError(f"{path} is there already; name another file, or replace it by --force")
    if folder is not None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name another folder, or write there by --force")


def _write_reports(dataset: Dataset, folder: Path) -> list[str]:
    from llmatrix.report.benchmark_report import write_reports  # noqa: PLC0415

    left_out = list(write_reports(dataset, folder))
    click.echo(f"{folder}: {len(dataset.records) - len(left_out)} benchmark reports")
    return left_out


def _log_runs(dataset: Dataset, uri: str) -> None:
    from llmatrix.report.mlflow_export import log_runs  # noqa: PLC0415

    logged, known = log_runs(dataset, uri)
    again = f", {known} were there already" if known else ""
    click.echo(f"{printable(uri)}: {logged} runs of experiment {dataset.experiment}{again}")
