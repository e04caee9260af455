"""Options and arguments that several verbs share, and what they load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def experiment_options(function: F) -> F:
    """Add the experiment file and what overrides or selects from it."""
    for decorate in (
        click.argument("file", type=click.Path(path_type=Path)),
        click.option(
            "--set",
            "overrides",
            metavar="PATH=VALUE",
            multiple=True,
            help="Override a value of the file, for example workload.duration=10s.",
        ),
        click.option(
            "--only",
            metavar="FACTOR=LEVEL",
            multiple=True,
            help="Take only the treatments with this level; several: FACTOR=A,B.",
        ),
    ):
        function = decorate(function)
    return function


strict_option = click.option(
    "--strict", is_flag=True, help="Refuse to start when a treatment does not fit; exit status 2."
)
"""Whether treatments that cannot fit are left out, or end it all."""
