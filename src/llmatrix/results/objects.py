"""A store that is a bucket: S3 and whatever speaks it, Google Cloud Storage, Azure.

A put of an object is whole or absent by the service's own promise, so ``put`` needs no
temporary name; large files go up in parts that only count once the last one is in. Failed calls
are repeated with growing pauses (``Patience``).
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from llmatrix.errors import StoreFault
from llmatrix.results.folder import check_name
from llmatrix.results.object_address import Address, Patience, connect, parse
from llmatrix.results.object_cache import Copies
from llmatrix.results.object_faults import fault, missing_bucket
from llmatrix.results.object_ranges import Ranges

if TYPE_CHECKING:
    from obstore import GetResult

PART_BYTES: Final = 8 * 1024 * 1024
"""Files above this go up in parts of this size, at most ``_PARTS_AT_ONCE`` of them held."""
_PARTS_AT_ONCE: Final = 4
_READ_TRIES: Final = 5
T = TypeVar("T")


class ObjectStore:
    """A prefix of a bucket. One is safe to use from several threads at once."""

    parallel = 32

    def __init__(self, address: Address, patience: Patience | None = None) -> None:
        self._address = address
        self._patience = patience or Patience()
        with self._faults("", "opened"):
            self._client = connect(address, self._patience)
        self._copies = Copies(address.url)

    @property
    def url(self) -> str:
        return self._address.url

    def put(self, name: str, content: bytes | Path) -> None:
        import obstore  # noqa: PLC0415 - see object_address.connect

        check_name(name)
        with self._faults(name, "written"):
            obstore.put(
                self._client,
                name,
                content,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def get(self, name: str) -> bytes:
        check_name(name)
        return self._read(name, lambda: bytes(self._ask(name).bytes()))

    def local(self, name: str) -> Path:
        check_name(name)
        known = self._copies.find(name)
        try:
            return self._read(name, lambda: self._copy(name, known[1] if known else None))
        except _Unchanged:
            assert known is not None  # noqa: S101 - only asked for where there is a copy
            return known[0]

    def exists(self, name: str) -> bool:
        import obstore  # noqa: PLC0415 - see object_address.connect

        check_name(name)
        try:
            with self._faults(name, "looked for"):
                obstore.head(self._client, name)
        except KeyError:
            return False
        return True

    def open(self, name: str, *, buffer_bytes: int = 1024 * 1024) -> BinaryIO:
        import obstore  # noqa: PLC0415 - see object_address.connect

        check_name(name)
        with self._faults(name, "read"):
            size = obstore.head(self._client, name)["size"]

        def fetch(start: int, end: int) -> bytes:
            return self._read(
                name, lambda: bytes(obstore.get_range(self._client, name, start=start, end=end))
            )

        return io.BufferedReader(Ranges(size, fetch), buffer_bytes)

    def names(self, prefix: str = "") -> Iterator[str]:
        return iter(self.sizes(prefix))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        import obstore  # noqa: PLC0415 - see object_address.connect

        parent, _, _ = prefix.rpartition("/")
        with self._faults(prefix, "listed"):
            pages = obstore.list(self._client, parent or None, chunk_size=1000)
            found = {o["path"]: o["size"] for page in pages for o in page}
        return {n: found[n] for n in sorted(found) if n.startswith(prefix)}

    def folders(self, prefix: str = "", *, empty: bool = False) -> Iterator[str]:
        del empty  # there are none
        import obstore  # noqa: PLC0415 - see object_address.connect

        parent = prefix.rstrip("/")
        with self._faults(prefix, "listed"):
            under = obstore.list_with_delimiter(self._client, parent or None)["common_prefixes"]
        yield from sorted(path.rstrip("/").rpartition("/")[2] for path in under)

    def delete(self, name: str) -> None:
        import obstore  # noqa: PLC0415 - see object_address.connect

        check_name(name)
        with contextlib.suppress(KeyError), self._faults(name, "deleted"):
            obstore.delete(self._client, name)

    def _ask(self, name: str, unless: str | None = None) -> GetResult:
        import obstore  # noqa: PLC0415 - see object_address.connect

        return obstore.get(
            self._client, name, options={"if_none_match": unless} if unless else None
        )

    def _copy(self, name: str, known: str | None) -> Path:
        import obstore  # noqa: PLC0415 - see object_address.connect

        try:
            answer = self._ask(name, known)
        except obstore.exceptions.NotModifiedError:
            raise _Unchanged from None
        version = answer.meta["e_tag"] or ""
        try:
            return self._copies.keep(name, version, answer.stream(min_chunk_size=PART_BYTES))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreFault(
                f"the store {self.url}: '{name}' could not be copied to this machine: "
                f"{error.strerror or error}; LLMATRIX_CACHE names another folder for copies"
            ) from error

    def _read(self, name: str, read: Callable[[], T]) -> T:
        """Read; an answer that breaks off half way is asked for again."""
        import obstore  # noqa: PLC0415 - see object_address.connect

        with self._faults(name, "read"):
            for pause in range(_READ_TRIES - 1):
                try:
                    return read()
                except obstore.exceptions.GenericError as error:
                    if not _broke_off(error):
                        raise
                    time.sleep(self._patience.first_pause_s * 2**pause)
            return read()

    @contextlib.contextmanager
    def _faults(self, name: str, deed: str) -> Iterator[None]:
        """Turn what the library raises into our errors: KeyError where a name is not there."""
        import obstore  # noqa: PLC0415 - see object_address.connect

        try:
            yield
        except FileNotFoundError as error:
            if deed in {"written", "listed"} or missing_bucket(error):
                raise fault(error, self._address, name, deed) from error
            raise KeyError(name) from None
        except (obstore.exceptions.BaseError, ValueError, OSError) as error:
            raise fault(error, self._address, name, deed) from error


class _Unchanged(Exception):
    """The copy on this machine is of the version that stands in the store."""


def _broke_off(error: Exception) -> bool:
    text = str(error)
    return "status code" not in text and ("Body" in text or "Decode" in text)


def open_object_store(url: str) -> ObjectStore:
    """Open ``s3://bucket/prefix``, ``gs://…`` or ``az://container/prefix``.

    Raises:
        UserError: the URL names no store, or carries credentials.
    """
    return ObjectStore(parse(url))
