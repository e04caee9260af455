"""Charts as they lie on this machine: a folder, or an archive fetched once and kept by digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from llmatrix.cluster import helm
from llmatrix.cluster.programs import NotRendered
from llmatrix.errors import EnvironmentFault
from llmatrix.spec.charts import Chart

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a chart's folder; more is no chart."""


def of_folder(folder: Path, source: str) -> tuple[Path, str]:
    """Give a chart's folder, and the digest of all that is in it.

    Raises:
        NotRendered: it is no chart.
    """
    place = (folder / source).resolve()
    if not (place / "Chart.yaml").is_file():
        what = "holds no Chart.yaml" if place.is_dir() else "is not there"
        raise NotRendered(f"the folder '{source}' {what} (seen from {folder.resolve()})")
    digest, total = hashlib.sha256(), 0
    for file in sorted(path for path in place.rglob("*") if path.is_file()):
        try:
            data = file.read_bytes()
        except OSError as error:
            raise NotRendered(f"{file} cannot be read: {error.strerror}") from None
        total += len(data)
        if total > MOST_BYTES:
            raise NotRendered(f"the folder '{source}' is larger than {MOST_BYTES >> 20} MiB")
        name = file.relative_to(place).as_posix().encode()
        digest.update(b"%d:%b%d:" % (len(name), name, len(data)))
        digest.update(data)
    return place, f"sha256:{digest.hexdigest()}"


def fetched(chart: Chart, locked: str | None) -> tuple[Path, str]:
    """Give a chart from elsewhere and the digest of its archive; a locked one from the cache.

    Raises:
        NotRendered: it cannot be had.
        EnvironmentFault: there is no helm, or no place to keep it.
    """
    kept = None if locked is None else _place(locked)
    if locked and kept and kept.is_file() and _digest(kept.read_bytes()) == locked:
        return kept, locked
    try:
        data = helm.fetch(chart.source, chart.name, chart.version or "")
    except NotRendered as error:
        raise NotRendered(f"the chart cannot be fetched: {error}") from None
    digest = _digest(data)
    place = _place(digest)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(place)
    except OSError as error:
        raise EnvironmentFault(f"{place} cannot be written: {error.strerror}") from None
    return place, digest


def _place(digest: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llmatrix" / "charts" / f"{digest.partition(':')[2]}.tgz"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
