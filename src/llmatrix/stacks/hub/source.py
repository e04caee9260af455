"""The Hub that a model is downloaded from: what it lists, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.stacks.hub.wanted import HUB, File, Wanted

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Files of a repository at a Hub.

    Attributes:
        wanted: which.
        endpoint: base URL of the Hub, or of a mirror of it.
        token: for it; "" for none.
    """

    wanted: Wanted
    endpoint: str = HUB
    token: str = field(default="", repr=False)

    def files(self) -> list[File]:
        """Ask which files there are, and take those that are wanted.

        Raises:
            StepFailure: none of them is wanted, or one has a path that leads elsewhere.
            Exception: whatever huggingface_hub and httpx2 raise (``faults.told``).
        """
        from huggingface_hub import HfApi  # noqa: PLC0415 - takes a second
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
            filter_repo_objects,
        )

        wanted = self.wanted
        tree = HfApi(endpoint=self.endpoint, token=self.token or False).list_repo_tree(
            wanted.repo, recursive=True, revision=wanted.revision
        )
        found = {each.path: _file(each) for each in tree if isinstance(each, RepoFile)}
        taken = filter_repo_objects(
            list(found),
            allow_patterns=list(wanted.allow) or None,
            ignore_patterns=list(wanted.ignore) or None,
        )
        files = [found[path] for path in sorted(taken)]
        if not files:
            raise StepFailure(
                f"no file of {wanted.repo} is taken by stack.model.allow and left by "
                f"stack.model.ignore; it has {_some(found)}.",
                FailureClass.USER,
            )
        for each in files:
            _hold(each, wanted.repo)
        return files

    def url(self, file: File) -> str:
        """Give where a file is."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415

        wanted = self.wanted
        return str(
            hf_hub_url(wanted.repo, file.path, revision=wanted.revision, endpoint=self.endpoint)
        )

    def headers(self) -> dict[str, str]:
        """Give what a request for a file is sent with."""
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415
            build_hf_headers,
        )

        # Compressed on its way, a file could not be resumed.
        told = build_hf_headers(token=self.token or False, library_name="llmatrix")
        return {**told, "Accept-Encoding": "identity"}


def needed(files: list[File], path: str, repo: str) -> None:
    """Check that the file or folder that the servers are to load is among the files.

    Raises:
        StepFailure: it is not; the ones like it are named.
    """
    if any(each.path == path or each.path.startswith(f"{path.rstrip('/')}/") for each in files):
        return
    suffix = PurePosixPath(path).suffix
    alike = [each.path for each in files if suffix and each.path.endswith(suffix)]
    raise StepFailure(
        f"stack.model.path: {repo} has no '{path}' among the files that are taken; it has "
        f"{_some(alike or [each.path for each in files])}.",
        FailureClass.USER,
    )


def _file(each: object) -> File:
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

    assert isinstance(each, RepoFile)  # noqa: S101 - the caller has looked
    if each.lfs is not None:
        return File(each.path, each.lfs.size, sha256=each.lfs.sha256)
    return File(each.path, each.size, git_sha1=each.blob_id)


def _hold(file: File, repo: str) -> None:
    parts = PurePosixPath(file.path).parts
    if file.path.startswith("/") or ".." in parts or not parts or parts[0].startswith(".llmatrix"):
        raise StepFailure(
            f"{repo} has a file of the path '{file.path}', which is not written.",
            FailureClass.USER,
        )


def _some(paths: object) -> str:
    listed = sorted(paths)  # type: ignore[call-overload]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more if listed else "none"
