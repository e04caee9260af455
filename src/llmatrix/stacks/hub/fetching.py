"""One file brought from the Hub to the volume: what was got before is kept, what came is checked.

What has come lies in a file of ours, every byte of it as it comes, and the next try asks for the
rest. Where huggingface_hub writes the file it begins anew once it was killed (#4228), holds back
up to 10 MiB, which are lost when the line breaks, and counts tries: a line that is slow and breaks
never gets on, and one that is dead is told after six times ten seconds.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final, Self

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.digest import digest
from llmatrix.stacks.hub import silence
from llmatrix.stacks.hub.source import Source
from llmatrix.stacks.hub.wanted import File

PARTIAL: Final = ".llmatrix-partial"
"""Folder, in that of the model, of files that are not whole yet."""
_FRUITLESS: Final = 5
"""So many tries in a row are gone on after that brought less than ``silence.GETS_ON``."""
_AGAIN_S: Final = 1.0
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
        Silent: nothing came for too long; what has come is kept.
        Stopped: ``stop`` was set meanwhile; what has come is kept.
        OSError: the volume cannot be written.
        Exception: whatever huggingface_hub and httpx2 raise (``faults.told``).
    """
    target = folder / file.path
    if stands(target, file):
        return
    partial = _partial(folder, file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with silence.counted(stop):
        if _too_large_for_http(file):
            _fetch_large(file, source, folder, partial)
        else:
            _fetch(file, source, _Sink(partial, file, count), stop)
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
    """The file that a download writes to; it counts.

    Attributes:
        held: bytes in it.
    """

    path: Path
    file: File
    count: Callable[[int], None]
    held: int = 0
    out: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Open it where it was left."""
        self.out = self.path.open("r+b" if self.path.exists() else "w+b")
        self.held = self.out.seek(0, os.SEEK_END)
        if self.held > self.file.size:  # of no use
            self.empty()
        return self

    def __exit__(self, *args: object) -> None:
        """Close it; what it holds is on the disk then."""
        assert self.out is not None  # noqa: S101 - entered
        with self.out:
            self.out.flush()
            os.fsync(self.out.fileno())

    def write(self, data: bytes) -> None:
        assert self.out is not None  # noqa: S101 - entered
        self.out.write(data)
        self.out.flush()  # a process that is killed loses nothing of it
        self.held += len(data)
        self.count(len(data))

    def empty(self) -> None:
        """Begin anew; what was counted is counted back."""
        assert self.out is not None  # noqa: S101 - entered
        self.count(-min(self.held, self.file.size))  # as ``there`` counts
        self.held = self.out.seek(0)
        self.out.truncate()


def _fetch(file: File, source: Source, sink: _Sink, stop: threading.Event) -> None:
    """Ask for what is missing, again while that gets on."""
    import httpx2 as httpx  # noqa: PLC0415 - with huggingface_hub, which has it loaded

    with sink:
        fruitless = 0
        while sink.held < file.size:
            before = sink.held
            try:
                _ask(file, source, sink)
            except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError):
                fruitless = 0 if sink.held - before >= silence.GETS_ON else fruitless + 1
                if fruitless > _FRUITLESS:
                    raise
                stop.wait(_AGAIN_S)
            else:
                return  # whole or not: what came is held against what is listed


def _ask(file: File, source: Source, sink: _Sink) -> None:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = source.headers()
    if sink.held:
        headers["Range"] = f"bytes={sink.held}-"
    # Waits as it is told to where it asked too often; 5xx are left to another try of the step.
    with http_stream_backoff(
        "GET",
        source.url(file),
        headers=headers,
        retry_on_exceptions=(),
        retry_on_status_codes=(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS),
    ) as response:
        hf_raise_for_status(response)
        if sink.held and response.status_code != HTTPStatus.PARTIAL_CONTENT:
            sink.empty()  # it knows no ranges
        for data in response.iter_bytes():
            sink.write(data)
            if sink.held > file.size:  # no need to hear all of it
                return


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
