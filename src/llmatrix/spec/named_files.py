"""The files that a workload is made from and that its document knows by their hash only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmatrix.spec.base import MAX_TOKENIZER_BYTES, TOKENIZER_FILE, TokenizerFolder
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.recorded import MAX_RECORDED_BYTES, RecordedFile

TOKENIZER: Final = "model.tokenizer"


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a treatment names.

    Attributes:
        field: dotted path of what names it.
        sha256: of its content, in hexadecimal.
        called: as those who read it need it to be called.
        place: where it is on the machine that planned the treatment; elsewhere it says nothing.
        most: bytes that it may have.
    """

    field: str
    sha256: str
    called: str
    place: Path
    most: int


def left_out(treatment: Treatment) -> list[NamedFile]:
    """Give the files that are needed to send a treatment's workload and are not in its document.

    Of a tokenizer's folder that is ``tokenizer.json``, and only where prompts are text.
    """
    found = []
    tokenizer, workload = treatment.model.tokenizer, treatment.workload
    if isinstance(tokenizer, TokenizerFolder) and workload.prompt == "text":
        place = Path(tokenizer.path) / TOKENIZER_FILE
        found.append(
            NamedFile(TOKENIZER, tokenizer.sha256, TOKENIZER_FILE, place, MAX_TOKENIZER_BYTES)
        )
    for name, recorded in _recorded(treatment).items():
        if not recorded.travels:
            place = Path(recorded.path)
            found.append(
                NamedFile(f"workload.{name}", recorded.sha256, name, place, MAX_RECORDED_BYTES)
            )
    return found


def placed(treatment: Treatment, places: Mapping[str, Path]) -> Treatment:
    """Give a treatment with its files where they are here.

    Args:
        treatment: that names them.
        places: of files, by the fields that name them.
    """
    model, workload, tokenizer = treatment.model, treatment.workload, treatment.model.tokenizer
    if TOKENIZER in places and isinstance(tokenizer, TokenizerFolder):
        here = tokenizer.model_copy(update={"path": str(places[TOKENIZER].parent)})
        model = model.model_copy(update={"tokenizer": here})
    moved = {
        name: recorded.model_copy(update={"path": str(places[f"workload.{name}"])})
        for name, recorded in _recorded(treatment).items()
        if f"workload.{name}" in places
    }
    workload = workload.model_copy(update=moved) if moved else workload
    return treatment.model_copy(update={"model": model, "workload": workload})


def _recorded(treatment: Treatment) -> dict[str, RecordedFile]:
    workload = treatment.workload
    fields = {name: getattr(workload, name) for name in type(workload).model_fields}
    return {name: value for name, value in fields.items() if isinstance(value, RecordedFile)}
