"""What people see of trials in Tekton's own displays: user's text, in characters that do no harm.

Tekton puts values in place of ``$(…)`` wherever it finds it in a param or a display name, so no
``$`` is let through; nor is anything that a terminal or a page would not show as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from llmatrix.plan.trial import Replicate, Trial

_LONGEST: Final = 160
_UNFIT: Final = re.compile(r"[^A-Za-z0-9 ._=:/,+@%()\[\]-]")
_SAFE: Final = re.compile(r"[A-Za-z0-9._-]+")


def treatment(trial: Trial) -> str:
    """Name a trial by its levels: ``config=queue question_len=100``, and its replicate if any."""
    told = [f"{path.rsplit('.', 1)[-1]}={label}" for path, label in trial.levels.items()]
    if trial.replicate != Replicate():
        told.append(f"replicate={replicate(trial)}")
    return harmless(" ".join(told)) or "the only treatment"


def replicate(trial: Trial) -> str:
    """Name a replicate as plans do: repetition of the deployment, then of the workload, from 1."""
    return trial.replicate.name


def harmless(text: str) -> str:
    """Replace every character that Tekton or a terminal could take for more than text."""
    fit = _UNFIT.sub("_", text)
    return fit if len(fit) <= _LONGEST else f"{fit[: _LONGEST - 3]}..."


def safe(text: str) -> bool:
    """Tell whether a text may travel as a param, as it is."""
    return _SAFE.fullmatch(text) is not None


def levels_annotation(levels: Mapping[str, str]) -> str:
    """Write levels for an annotation, in which Tekton puts nothing in place of anything."""
    return json.dumps(dict(levels), ensure_ascii=False)
