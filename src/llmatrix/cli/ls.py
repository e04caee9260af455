"""``llmatrix ls``: what a store holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmatrix.errors import UserError

if TYPE_CHECKING:
    from llmatrix.results.store import Store


@dataclass(frozen=True, slots=True)
class Held:
    """An experiment in a store: trials with a record, failed ones, bytes of all files."""

    experiment: str
    records: int
    failures: int
    bytes: int


@click.command("ls")
@click.argument("store", required=False, default="results", metavar="[STORE]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(store: str, *, as_json: bool) -> None:
    """List the experiments of a store: trials with a record, failed ones, size.

    STORE is a folder or a URL such as s3://bucket/team; default: results/.
    """
    from llmatrix.results.folder import open_store  # noqa: PLC0415 - not for --help
    from llmatrix.results.places import experiments  # noqa: PLC0415

    if "://" not in store and not Path(store).is_dir():
        raise UserError(
            f"{Path(store).absolute()} is no folder; name a store, or run an experiment first"
        )
    opened = open_store(store, folder=Path())
    held = list(_held(opened, experiments(opened)))
    if as_json:
        click.echo(json.dumps([asdict(each) for each in held], indent=1))
        return
    if not held:
        click.echo(f"{opened.url} holds no experiment", err=True)
    width = max((len(each.experiment) for each in held), default=0)
    for each in held:
        failed = f", {each.failures} failed" if each.failures else ""
        click.echo(
            f"{each.experiment:<{width}}  {each.records} trials{failed}, {each.bytes / 1e6:,.1f} MB"
        )


def _held(store: Store, names: Iterator[str]) -> Iterator[Held]:
    for name in names:
        sizes = store.sizes(f"{name}/")
        records = {file.rpartition("/")[0] for file in sizes if file.endswith("/record.json")}
        failures = {file.rpartition("/")[0] for file in sizes if file.endswith("/failure.json")}
        yield Held(name, len(records), len(failures - records), sum(sizes.values()))
