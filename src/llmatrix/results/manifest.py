"""What an experiment was asked to do: ``<experiment>/experiment.json``, written by the engine."""

from __future__ import annotations

import shlex
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from llmatrix.errors import StoreFault
from llmatrix.results.store import Store


class PlannedTrials(BaseModel):
    """The trials that the plan holds."""

    model_config = ConfigDict(frozen=True)

    trials: list[str] = []


class Manifest(BaseModel):
    """The experiment as it was last started; keys unknown to this version are passed over."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str = ""
    """Text of the experiment file, as the user wrote it."""
    slo: dict[str, float | None] = {}
    """Objectives by name (``ttft_p99``), in seconds."""
    seed: int = 0
    """Of the order of trials."""
    factors: dict[str, list[str]] = {}
    """Labels of the levels of each factor, in the file's order."""
    plan: PlannedTrials = PlannedTrials()
    command: str | list[str] = ""
    """What was typed to run it."""

    @property
    def command_line(self) -> str:
        """Give the command on one line."""
        if isinstance(self.command, str):
            return self.command
        return shlex.join(self.command)


def manifest_name(experiment: str) -> str:
    """Name an experiment's manifest in the store."""
    return f"{experiment}/experiment.json"


def write_manifest(store: Store, manifest: Manifest) -> None:
    """Keep what the experiment was asked to do.

    Raises:
        StoreFault: the store cannot take it.
    """
    content = manifest.model_dump_json(indent=1).encode() + b"\n"
    store.put(manifest_name(manifest.name), content)


def read_manifest(store: Store, experiment: str) -> Manifest | None:
    """Read what the experiment was asked to do; None where nobody wrote it down.

    Raises:
        StoreFault: it is torn or not ours.
    """
    name = manifest_name(experiment)
    try:
        document: Any = orjson.loads(store.get(name))
        return Manifest.model_validate(document)
    except KeyError:
        return None
    except (orjson.JSONDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise StoreFault(
            f"{store.url}/{name}: is not what llmatrix writes there ({reason}); planned trials "
            f"and objectives are unknown until the next run writes it anew"
        ) from None
