"""``llmatrix schema``: print the JSON Schema of an experiment file."""

from __future__ import annotations

import json

import click


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema of an experiment file, for editors.

    \u0008
    llmatrix schema > experiment.schema.json
    and as the first line of an experiment file:
    # yaml-language-server: $schema=experiment.schema.json
    """
    from llmatrix.spec.schema import json_schema  # noqa: PLC0415 - `--help` stays quick

    click.echo(json.dumps(json_schema(), indent=2))
