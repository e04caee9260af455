"""Programs of this machine that turn a user's sources into manifests, without any cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from llmatrix.errors import EnvironmentFault

RENDER_S: Final = 120.0
FETCH_S: Final = 300.0
MOST_BYTES: Final = 16 * 1024 * 1024
"""Of what a program writes; more is no set of manifests."""


class NotRendered(ValueError):
    """What the user named does not render; the text is what the program said about it."""


def found(program: str, variable: str) -> str | None:
    """Give the program that an environment variable names, or the one on the path.

    Raises:
        EnvironmentFault: the variable names none.
    """
    named = os.environ.get(variable)
    if not named:
        return shutil.which(program)
    place = shutil.which(named)
    if place is None:
        raise EnvironmentFault(f"{variable} names {named}, and there is no such program")
    return place


def output(words: Sequence[str], *, timeout_s: float = RENDER_S) -> str:
    """Run a program and give what it writes.

    Raises:
        NotRendered: it ends in error, writes too much or takes too long; with its last words.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotRendered(f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise EnvironmentFault(f"{words[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise NotRendered(_said(done.stderr.decode(errors="replace")) or "it ended in error")
    if len(done.stdout) > MOST_BYTES:
        raise NotRendered(f"it writes more than {MOST_BYTES // 1024 // 1024} MiB")
    try:
        return done.stdout.decode()
    except UnicodeDecodeError:
        raise NotRendered("what it writes is not UTF-8") from None


def _said(text: str) -> str:
    """Give the error that a program ended with, in one line, without advice about its options."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((n for n, line in enumerate(lines) if line.lower().startswith("error:")), 0)
    kept = [line for line in lines[first:] if not line.startswith("Use --debug")]
    return " ".join(kept).removeprefix("Error: ").removeprefix("error: ")[:1000]
