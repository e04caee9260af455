"""What is wanted of the Hub, and where it lies on a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmatrix.plan.digest import canonical, digest

HUB: Final = "https://huggingface.co"
_PATTERNS_HASH: Final = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files of one commit of a repository.

    Attributes:
        repo: OWNER/NAME.
        revision: the commit, 40 hexadecimal digits.
        allow: patterns of the files to take; none: all.
        ignore: patterns of the files to leave out.
    """

    repo: str
    revision: str
    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where it lies on a volume; two that differ in anything have two folders.

        The last part has no dot: transformers makes a name of a Python module of it.
        """
        own = ""
        if self.allow or self.ignore:
            patterns = canonical([sorted(self.allow), sorted(self.ignore)])
            own = f"-{digest(patterns)[:_PATTERNS_HASH]}"
        return f"{self.repo.replace('/', '--')}/{self.revision}{own}"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository, as the Hub tells of it.

    Attributes:
        path: in the repository.
        size: bytes.
        sha256: of its content, where it is stored by Git LFS or Xet; else "".
        git_sha1: of the blob that Git stores (its header and the content), where ``sha256`` is "".
    """

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""
