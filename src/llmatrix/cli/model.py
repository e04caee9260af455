"""``llmatrix model``: what the Jobs that llmatrix makes run to have a model on a volume."""

from __future__ import annotations

import os
from pathlib import Path

import click

from llmatrix.cli.step import stopped_by_signal


@click.group
def command() -> None:
    """Bring the files of a model to a volume: what a Job does, not people."""


@command.command()
@click.option("--repo", required=True, metavar="OWNER/NAME", help="Repository at the Hub.")
@click.option("--revision", required=True, metavar="COMMIT", help="40 hexadecimal digits.")
@click.option("--allow", multiple=True, metavar="PATTERN", help="Files to take; default: all.")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Files to leave out.")
@click.option("--path", default="", help="File or folder that must be among them.")
@click.option("--endpoint", default="https://huggingface.co", show_default=True, metavar="URL")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where the volume is mounted.",
)
@click.option("--make-room", is_flag=True, help="Remove other models where there is no room.")
@click.option(
    "--told",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File for the outcome, one document of at most 4,096 bytes.",
)
def download(  # noqa: PLR0913, PLR0917 - one for each option
    repo: str,
    revision: str,
    allow: tuple[str, ...],
    ignore: tuple[str, ...],
    path: str,
    endpoint: str,
    into: Path,
    make_room: bool,  # noqa: FBT001 - a flag of the command line
    told: Path | None,
) -> int:
    """Download a model, unless it is there whole; HF_TOKEN is the token, if one is needed."""
    # Before huggingface_hub is imported, which reads them once.
    os.environ.setdefault("HF_ENDPOINT", endpoint)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from llmatrix.errors import FailureClass, StepFailure, Stopped  # noqa: PLC0415
    from llmatrix.stacks.hub.download import download as bring  # noqa: PLC0415
    from llmatrix.stacks.hub.source import Source  # noqa: PLC0415
    from llmatrix.stacks.hub.told import encoded_failure  # noqa: PLC0415
    from llmatrix.stacks.hub.volume import Volume  # noqa: PLC0415
    from llmatrix.stacks.hub.wanted import Wanted  # noqa: PLC0415

    def tell(document: str) -> None:
        if told is not None:
            told.write_text(document, encoding="utf-8")

    source = Source(
        Wanted(repo, revision, allow, ignore),
        endpoint.rstrip("/"),
        os.environ.get("HF_TOKEN", "").strip(),
    )
    with stopped_by_signal() as stop:
        try:
            done = bring(
                source, Volume(into), path=path, makes_room=make_room, stop=stop, say=click.echo
            )
        except StepFailure as error:
            tell(encoded_failure(error))
            raise
        except Stopped as error:
            tell(encoded_failure(StepFailure(f"{error}.", FailureClass.ENVIRONMENT)))
            raise
    tell(done.encoded())
    click.echo(f"{repo} at {revision}: {done}")
    return 0
