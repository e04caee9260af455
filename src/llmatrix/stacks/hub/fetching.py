"""One file brought from the Hub to the volume: what was got before is kept, what came is checked.

huggingface_hub downloads it and tries again when the line breaks or falls silent. Where it writes
to a file of its own it begins anew once it was killed (huggingface_hub #4228); here what has come
lies in a file of ours, and the next try asks for the rest.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.plan.digest import digest
from llmatrix.stacks.hub.source import Source
from llmatrix.stacks.hub.wanted import File

PARTIAL: Final = ".llmatrix-partial"
"""Folder, in that of the model, of files that are not whole yet."""
_READ_AT_ONCE: Final = 4 * 1024 * 1024


def fetch(
    file: File, source: Source, folder: Path, count: Callable[[int], None], stop: threading.Event
) -> None:
    """Bring one file into the folder, unless it is there.

    Args:
        file: which.
        source: where from.
        folder: of the model.
        count: is told the bytes that come.
        stop: ends it when it is set.

    Raises:
        StepFailure: what came is not what the Hub lists.
        Stopped: ``stop`` was set meanwhile; what has come is kept.
        OSError: the volume cannot be written.
        Exception: whatever huggingface_hub and httpx2 raise (``faults.told``).
    """
    target = folder / file.path
    if stands(target, file):
        return
    partial = _partial(folder, file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if _too_large_for_http(file):
        _fetch_large(file, source, folder, partial)
    else:
        _fetch(file, source, _Sink(partial, file, count, stop))
    _check(partial, file, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)


def stands(target: Path, file: File) -> bool:
    """Tell whether a file is there; only what has been checked gets its name."""
    return target.is_file() and target.stat().st_size == file.size


def there(folder: Path, file: File) -> int:
    """Give the bytes of a file that need not come any more."""
    if stands(folder / file.path, file):
        return file.size
    partial = _partial(folder, file)
    return min(partial.stat().st_size, file.size) if partial.is_file() else 0


@dataclass(slots=True)
class _Sink:
    """The file that a download writes to, as huggingface_hub uses it; it counts, and can stop."""

    path: Path
    file: File
    count: Callable[[int], None]
    stop: threading.Event
    out: IO[bytes] | None = None

    def __enter__(self) -> int:
        """Open it; give the bytes that it holds."""
        self.out = self.path.open("r+b" if self.path.exists() else "w+b")
        held = self.out.seek(0, os.SEEK_END)
        if held > self.file.size:  # of no use: begin anew
            held = self.out.seek(0)
            self.out.truncate()
        return held

    def __exit__(self, *args: object) -> None:
        """Close it; what it holds is on the disk then."""
        assert self.out is not None  # noqa: S101 - entered
        with self.out:
            self.out.flush()
            os.fsync(self.out.fileno())

    def write(self, data: bytes) -> int:
        if self.stop.is_set():
            raise Stopped("stopped while downloading")
        assert self.out is not None  # noqa: S101 - entered
        written = self.out.write(data)
        self.count(written)
        return written

    def tell(self) -> int:
        assert self.out is not None  # noqa: S101 - entered
        return self.out.tell()

    def seek(self, place: int) -> int:
        """Go back to a place; what was counted beyond it is counted back."""
        assert self.out is not None  # noqa: S101 - entered
        self.count(place - self.out.tell())
        return self.out.seek(place)

    def truncate(self) -> int:
        assert self.out is not None  # noqa: S101 - entered
        return self.out.truncate()


def _fetch(file: File, source: Source, sink: _Sink) -> None:
    from huggingface_hub.file_download import http_get  # noqa: PLC0415

    with sink as held:
        if held < file.size or not file.size:
            # Not told the size that is listed: what came is held against that here, by its hash.
            http_get(
                source.url(file),
                sink,  # type: ignore[arg-type]
                resume_size=held,
                headers=source.headers(),
                displayed_filename=file.path,
            )


def _too_large_for_http(file: File) -> bool:
    from huggingface_hub import constants  # noqa: PLC0415

    return file.size > constants.MAX_HTTP_DOWNLOAD_SIZE


def _fetch_large(file: File, source: Source, folder: Path, partial: Path) -> None:
    """Have huggingface_hub bring a file that the Hub gives out by Xet only; it cannot go on."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    came = hf_hub_download(
        source.wanted.repo,
        file.path,
        revision=source.wanted.revision,
        local_dir=folder / PARTIAL / "xet",
        endpoint=source.endpoint,
        token=source.token or False,
    )
    Path(came).replace(partial)


def _check(partial: Path, file: File, source: Source) -> None:
    """Hold what came against what the Hub lists; what is not that is thrown away.

    Raises:
        StepFailure: it is of another size, or has other content.
    """
    held = partial.stat().st_size
    if held == file.size and _digest(partial, file) == (file.sha256 or file.git_sha1):
        return
    partial.unlink()
    told = f"{held} bytes of {file.size} came" if held != file.size else "its hash is another"
    raise StepFailure(
        f"'{file.path}' of {source.wanted.repo} did not come as {source.endpoint} lists it: "
        f"{told}.",
        FailureClass.ENVIRONMENT,
    )


def _digest(path: Path, file: File) -> str:
    if file.sha256:
        found = hashlib.sha256()
    else:
        found = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(_READ_AT_ONCE):
            found.update(chunk)
    return found.hexdigest()


def _partial(folder: Path, file: File) -> Path:
    # By content, so that another commit's is never gone on with; by path, for two that are alike.
    return folder / PARTIAL / f"{file.sha256 or file.git_sha1}-{digest(file.path)[:8]}"
