"""Read a text file that a user named: regular files only, bounded, UTF-8."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Give the bytes of a regular file of at most ``limit`` bytes; symbolic links are followed.

    The file is opened without waiting and judged by its descriptor, so that a pipe or a device
    put in its place can neither block nor feed us without end.

    Raises:
        ValueError: why not, in words that follow the file's name (``is a folder, not a file``).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ValueError("is not there") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {_reason(error)}") from None
    except ValueError:
        raise ValueError("is no possible file name") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise ValueError("is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise ValueError("is a pipe, socket or device, not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ValueError(f"is larger than {limit / 1024 / 1024:g} MiB")
    return data


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
