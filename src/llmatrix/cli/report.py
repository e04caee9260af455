"""``llmatrix report``: the answer of an experiment, as a table here and as a page."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import click

from llmatrix.errors import StoreFault, UserError

_EVIDENCE = ("record.json", "failure.json")


@click.command("report")
@click.argument("folder", required=False, metavar="[DIR]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where the page goes; default DIR/report.html; for a URL, NAME.html here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the trials as JSON, write no page.")
def command(folder: str | None, output: str | None, *, as_json: bool) -> None:
    """Show what an experiment found, and write it as one HTML page.

    DIR is an experiment's folder in a store, such as results/quickstart or
    s3://bucket/quickstart, or a store with one experiment; default: results/.
    """
    # The libraries of the report take half a second to load; --help must not wait for them.
    from rich.console import Console  # noqa: PLC0415

    from llmatrix.report.page import write_page  # noqa: PLC0415
    from llmatrix.report.summary import Summary  # noqa: PLC0415
    from llmatrix.report.terminal import print_report  # noqa: PLC0415
    from llmatrix.results.dataset import load  # noqa: PLC0415
    from llmatrix.results.folder import FolderStore  # noqa: PLC0415
    from llmatrix.results.places import find_experiment as find_anywhere  # noqa: PLC0415

    if folder is not None and "://" in folder:
        dataset = load(*find_anywhere(folder, command="llmatrix report"))
        default = Path(f"{dataset.experiment}.html")
    else:
        place = find_experiment(folder)
        dataset = load(FolderStore(place.parent), place.name)
        default = place / "report.html"
    if as_json:
        click.echo(json.dumps(dataset.trials().to_pylist(), indent=1, allow_nan=False))
        return
    page = Path(output) if output else default
    # Of a thousand trials come millions of small values, and none in cycles: to search them again
    # and again for those would take a tenth of the time.
    gc.disable()
    try:
        summary = Summary(dataset)
        print_report(summary, Console(highlight=False))
        write_page(summary, page)
    except OSError as error:
        raise StoreFault(
            f"the page {page} could not be written: {error.strerror}; name another place with -o"
        ) from error
    finally:
        gc.enable()
    click.echo(f"\n{page}")


def find_experiment(folder: str | None) -> Path:
    """Find the experiment's folder that the user means.

    Raises:
        UserError: there is none, or there are several.
    """
    place = Path(folder or "results").absolute()
    if not place.is_dir():
        hint = "name an experiment's folder" if folder is None else "check the path"
        what = "is a file, not a folder" if place.exists() else "does not exist"
        raise UserError(f"{place} {what}; {hint}, such as results/quickstart, or run one first")
    try:
        if _is_experiment(place):
            return place.resolve()
        inside = [child for child in sorted(place.iterdir()) if _is_experiment(child)]
    except OSError as error:
        raise StoreFault(f"{place} cannot be read: {error.strerror}") from error
    if not inside:
        raise UserError(f"{place} holds no trial yet; run an experiment first: llmatrix run FILE")
    if len(inside) > 1:
        names = "\n".join(f"  llmatrix report {child}" for child in inside)
        raise UserError(f"{place} holds {len(inside)} experiments; say which one:\n{names}")
    return inside[0].resolve()


def _is_experiment(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if (folder / "experiment.json").is_file():
        return True
    return any((child / name).is_file() for child in folder.iterdir() for name in _EVIDENCE)
