"""Runs foreign programs to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.devcluster.faults import ClusterFault


def output(
    command: Sequence[str | Path],
    *,
    given: str | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run to the end and give what it printed.

    Raises:
        ClusterFault: it cannot be run or ended with an error; the message ends with what it said.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=environment,
        )
    except OSError as error:
        raise ClusterFault(f"'{words[0]}' cannot be run: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ClusterFault(f"`{_short(words)}` ended with {done.returncode}: {said}")
    return done.stdout


def _short(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) < 160 else text[:157] + "..."  # noqa: PLR2004 - about two lines


def succeeds(command: Sequence[str | Path], *, timeout_s: float | None = None) -> bool:
    """Run to the end and tell whether it ended well; one that cannot be run did not."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
