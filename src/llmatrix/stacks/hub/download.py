"""A whole model brought to a volume, or the reason why not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from llmatrix.errors import LlmatrixError, Stopped
from llmatrix.stacks.hub import faults, fetching, silence
from llmatrix.stacks.hub.source import Source, needed
from llmatrix.stacks.hub.told import Done, Progress
from llmatrix.stacks.hub.volume import Volume
from llmatrix.stacks.hub.wanted import File

_AT_ONCE: Final = 4
"""Files on their way at a time; one alone does not fill a fast line."""
_TELL_EVERY_S: Final = 1.0
Say = Callable[[str], None]


def download(
    source: Source,
    volume: Volume,
    *,
    path: str,
    makes_room: bool,
    stop: threading.Event,
    say: Say = lambda _: None,
) -> Done:
    """Bring a model to a volume, unless it is there.

    Args:
        source: the model, and where it comes from; not asked where the model is there.
        volume: where to.
        path: file or folder that must be among what comes; "" for none.
        makes_room: whether other models may go where there is no room.
        stop: ends it when it is set.
        say: is told progress, line by line.

    Raises:
        StepFailure: it did not come; the message says why, and what to do.
        Stopped: ``stop`` was set meanwhile; what has come is kept.
    """
    try:
        with volume.alone(stop, say):
            return _download(source, volume, path, stop, say, makes_room=makes_room)
    except LlmatrixError:
        raise
    except Exception as error:
        raise faults.told(error, source) from error


def _download(
    source: Source, volume: Volume, path: str, stop: threading.Event, say: Say, *, makes_room: bool
) -> Done:
    wanted = source.wanted
    files = volume.whole(wanted)
    if files is not None:
        if path:
            needed(files, path, wanted.repo)
        return Done(len(files), sum(each.size for each in files), 0)
    with silence.counted(stop):
        files = source.files()
    if path:
        needed(files, path, wanted.repo)
    folder = volume.folder(wanted)
    total = sum(each.size for each in files)
    progress = _Progress(sum(fetching.there(folder, each) for each in files), total)
    missing = total - progress.done
    if makes_room and volume.free() < missing:
        for each in volume.make_room(wanted, missing):
            say(f"{each} was removed to make room")
    if volume.free() < missing:
        raise volume.full(wanted, total, missing)
    folder.mkdir(parents=True, exist_ok=True)
    volume.unmark(wanted)
    try:
        with progress.telling(say):
            _fetch_all(files, source, volume, progress, stop)
    except OSError as error:
        if error.errno in faults.FULL:
            raise volume.full(wanted, total, total - progress.done) from error
        raise
    volume.mark(wanted, files)
    return Done(len(files), total, missing)


def _fetch_all(
    files: list[File], source: Source, volume: Volume, progress: _Progress, stop: threading.Event
) -> None:
    """Fetch several at a time; the first that fails ends the others."""
    folder, ending = volume.folder(source.wanted), threading.Event()
    # The largest first, or one is left to come alone at the end.
    ordered = sorted(files, key=lambda each: -each.size)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        coming = [
            pool.submit(fetching.fetch, each, source, folder, progress.add, ending)
            for each in ordered
        ]
        left = set(coming)
        while left:
            ended, left = wait(left, timeout=0.2, return_when=FIRST_EXCEPTION)
            if stop.is_set() or any(each.exception() is not None for each in ended):
                ending.set()
                for each in left:
                    each.cancel()
                break
    failed = [each.exception() for each in coming if not each.cancelled()]
    if stop.is_set():
        raise Stopped("stopped while downloading")
    for error in sorted(filter(None, failed), key=lambda one: isinstance(one, Stopped)):
        raise error


@dataclass(slots=True)
class _Progress:
    """Bytes that are there, counted by several threads."""

    done: int
    total: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count

    @contextmanager
    def telling(self, say: Say) -> Iterator[None]:
        """Tell how far it is every second until the block ends."""
        over = threading.Event()

        def tell() -> None:
            say(Progress(self.done, self.total).encoded())
            while not over.wait(_TELL_EVERY_S):
                say(Progress(self.done, self.total).encoded())

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
