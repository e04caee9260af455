"""What others wrote (servers, logs, files), so that it cannot steer the terminal it is shown on."""

from __future__ import annotations

import click


def printable(text: str) -> str:
    """Give one line of text without colours, line ends and other control characters."""
    plain = click.unstyle(text)
    return "".join(character if character.isprintable() else " " for character in plain).strip()
