"""Trials as documents: how they travel to where they are run.

A document is base64url of zlib-compressed JSON, so that it consists of letters, digits, ``-``,
``_`` and ``=`` only: nothing in it can be substituted, quoted or split on its way, whatever a user
wrote into a level. Trials of one experiment are much alike; together they take little more room
than one.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from llmatrix.errors import UserError
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Replicate, Trial
from llmatrix.spec.experiment import Treatment


def encode(document: Any) -> str:
    """Write plain data as a document that can travel."""
    plain = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()
    return base64.urlsafe_b64encode(zlib.compress(plain, 9)).decode()


def decode(text: str) -> Any:
    """Read what ``encode`` wrote.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(zlib.decompress(base64.b64decode(text, altchars=b"-_", validate=True)))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise UserError(f"the document that came with the task is damaged: {error}") from None


def encode_trials(trials: Sequence[Trial]) -> str:
    """Write trials as one document."""
    return encode([_plain(trial) for trial in trials])


def decode_trials(text: str) -> list[Trial]:
    """Read what ``encode_trials`` wrote.

    Raises:
        UserError: it is damaged, or was written by an llmatrix whose documents differ.
    """
    try:
        return [_trial(each) for each in decode(text)]
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(
            f"this llmatrix cannot read the trial that it was given ({_said(error)}); use the "
            f"image of the version that submitted it"
        ) from None


def _plain(trial: Trial) -> dict[str, Any]:
    return {
        "id": trial.id,
        "experiment": trial.experiment,
        "levels": dict(trial.levels),
        "treatment": trial.treatment.model_dump(mode="json"),
        "replicate": trial.replicate.document(),
        "versions": dict(trial.versions),
        "keys": {step.value: key for step, key in trial.keys.items()},
        "traffic_seed": trial.traffic_seed,
        "estimate_s": trial.estimate_s,
    }


def _trial(document: dict[str, Any]) -> Trial:
    return Trial(
        id=document["id"],
        experiment=document["experiment"],
        levels=document["levels"],
        treatment=Treatment.model_validate_json(json.dumps(document["treatment"])),
        replicate=Replicate(**document["replicate"]),
        versions=document["versions"],
        keys={Step(step): key for step, key in document["keys"].items()},
        traffic_seed=document["traffic_seed"],
        estimate_s=document["estimate_s"],
    )


def _said(error: Exception) -> str:
    """Say in one line what is wrong; of what pydantic found, the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
