"""``llmatrix init``: write a commented experiment file to begin with."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from llmatrix.errors import EnvironmentFault, UserError

_EXPERIMENT: Final = "experiment.yaml"
_COMMENT_COLUMN: Final = 32
_PICKERS: Final = ("router/none.yaml", "router/prefix.yaml", "router/queue.yaml")


@click.command(name="init")
@click.argument("file", default=_EXPERIMENT, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite files that are there already.")
def command(file: Path, *, force: bool) -> None:
    """Write a commented experiment FILE, and the router configs that it names beside it.

    FILE is experiment.yaml unless given. Nothing that is there is overwritten without --force.
    """
    texts = {file: _experiment(file)}
    texts |= {file.parent / name: _text(name) for name in _PICKERS}
    if not force and (there := [str(p) for p in texts if p.exists() and not _holds(p, texts[p])]):
        verb = "is" if len(there) == 1 else "are"
        raise UserError(
            f"{', '.join(there)} {verb} there already; give another name, or --force to overwrite."
        )
    for path, text in texts.items():
        if _holds(path, text):
            click.echo(f"kept {path}")
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.") from None
        click.echo(f"wrote {path}")
    click.echo(f"Next: llmatrix plan {file}")


def _holds(path: Path, text: str) -> bool:
    """Tell whether this file is there already, as it would be written."""
    try:
        return path.is_file() and path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _experiment(file: Path) -> str:
    """Give the experiment file's text, named after the file where that makes a name."""
    from llmatrix.spec.experiment import DNS_1123  # noqa: PLC0415 - `--help` stays quick

    text = _text(_EXPERIMENT)
    if not re.fullmatch(DNS_1123, file.stem):
        return text
    named = f"name: {file.stem}".ljust(_COMMENT_COLUMN - 1) + " "
    return re.sub(r"^name: experiment +", named, text, flags=re.MULTILINE)


def _text(name: str) -> str:
    return (files("llmatrix.cli") / "scaffold" / name).read_text(encoding="utf-8")
