"""The files that a trial names, brought into the pod that reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.naming import short_hash
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.named_files import NamedFile, left_out, placed
from llmatrix.stacks import carried
from llmatrix.stacks.site_address import SiteAddress

_FOLDER: Final = "files"


def brought(treatment: Treatment, cluster: Cluster, address: SiteAddress, work: Path) -> Treatment:
    """Write the files that a treatment names below a folder; give it with them in their places.

    What an earlier try, or another trial in the same pod, left there is taken if it is whole.

    Raises:
        StepFailure: class ``user`` where one is not beside the PipelineRuns, or not whole;
            ``environment`` where the folder cannot be written.
    """
    here = {each.field: _brought(each, cluster, address, work) for each in left_out(treatment)}
    return placed(treatment, here) if here else treatment


def _brought(file: NamedFile, cluster: Cluster, address: SiteAddress, work: Path) -> Path:
    # A hash comes with the trial's document: it is no name until it has been hashed again.
    place = work / _FOLDER / short_hash(file.sha256) / file.called
    if _whole(place, file.sha256):
        return place
    content = carried.content(cluster, address, file.sha256, f"the content of {file.field}")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.write_bytes(content)
    except OSError as error:
        raise StepFailure(
            f"{file.field}: {place} cannot be written: {error.strerror}.", FailureClass.ENVIRONMENT
        ) from None
    return place


def _whole(place: Path, digest: str) -> bool:
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False
