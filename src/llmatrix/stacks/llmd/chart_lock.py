"""``llmatrix.lock``: which very charts and images the experiments of a folder take, by digest.

A version is a name, and what it names can be changed; a digest cannot. Entries are added when a
chart is first rendered; what no longer fits one is refused until somebody renews it.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from llmatrix.errors import EnvironmentFault, Place, UserError
from llmatrix.spec.charts import Chart

LOCK: Final = "llmatrix.lock"
RENEW: Final = "llmatrix plan FILE --update-lock"
_HEAD: Final = (
    "# What the experiments of this folder take from outside, by digest. Keep it with them.\n"
    f"# Written by llmatrix; renewed by: {RENEW}\n"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
Name = tuple[str, str, str]
"""Of a chart: its source, its name in a repository or "", its version or ""."""


@dataclass(slots=True)
class Lock:
    """A lock file as it was read, and what was added to it.

    Attributes:
        path: of the file.
        charts: chart to digest.
        images: image as written to digest, or None where none is known: then the tag counts.
        renewed: charts whose digest was taken anew.
    """

    path: Path
    charts: dict[Name, str] = field(default_factory=dict)
    images: dict[str, str | None] = field(default_factory=dict)
    renewed: set[Name] = field(default_factory=set)
    changed: bool = False

    def hold(self, chart: Chart, digest: str, *, renew: bool = False) -> str:
        """Compare a chart with its entry, or make the entry.

        Returns:
            What is wrong, in words; "" if nothing is.
        """
        name = named(chart)
        known = self.charts.get(name)
        if known == digest:
            return ""
        if known is not None and not (renew and name not in self.renewed):
            return (
                f"the chart {chart.source} is no longer the one in {self.path.name}: its digest is "
                f"{digest[:19]}…, and {known[:19]}… is locked; take that one again, or renew the "
                f"lock: {RENEW}"
            )
        self.charts[name] = digest
        self.renewed.add(name)
        self.changed = True
        return ""

    def see(self, images: Iterable[str]) -> None:
        """Enter images that are not there yet; one written with its digest has it."""
        for image in images:
            if image not in self.images:
                _, _, digest = image.partition("@")
                self.images[image] = digest if _DIGEST.fullmatch(digest) else None
                self.changed = True

    @property
    def pinned(self) -> Mapping[str, str]:
        """Images whose digest is known."""
        return {image: digest for image, digest in self.images.items() if digest}

    def write(self) -> bool:
        """Write the file if something was added, and tell whether it was.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        if not self.changed:
            return False
        rows = [
            {
                "source": source,
                **({"name": name} if name else {}),
                **({"version": version} if version else {}),
                "digest": digest,
            }
            for (source, name, version), digest in sorted(self.charts.items())
        ]
        document = {"charts": rows, "images": dict(sorted(self.images.items()))}
        try:
            _replace(self.path, _HEAD + yaml.safe_dump(document, sort_keys=False, width=1000))
        except OSError as error:
            raise EnvironmentFault(f"{self.path} cannot be written: {error.strerror}") from None
        self.changed = False
        return True


def named(chart: Chart) -> Name:
    """Give that by which a chart is entered."""
    return chart.source, chart.name or "", chart.version or ""


def read(folder: Path) -> Lock:
    """Read the lock file of a folder; an empty one where there is none.

    Raises:
        UserError: it is not what llmatrix writes.
    """
    path = folder / LOCK
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Lock(path)
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise _damaged(path, " ".join(str(error).split())) from None
    try:
        charts = {
            (row["source"], row.get("name", ""), row.get("version", "")): _digest(row["digest"])
            for row in document.get("charts") or ()
        }
        images = {
            str(image): None if digest is None else _digest(digest)
            for image, digest in (document.get("images") or {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    return Lock(path, charts, images)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"'{value}' is no digest (sha256:…)")
    return value


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{Place(str(path))}: this is no lock of llmatrix ({why}); mend it, or remove it and write "
        f"it anew with: {RENEW}"
    )


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
