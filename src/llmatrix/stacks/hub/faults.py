"""From what huggingface_hub, the network and the volume raise to a sentence, and what may mend it.

The Hub tells a gated repository by ``X-Error-Code: GatedRepo`` (403, or 401 without a token), a
missing revision by ``RevisionNotFound``, a missing or private repository by ``RepoNotFound`` or a
plain 401, and a token that it does not know by 401 with ``X-Error-Message: Invalid credentials in
Authorization header`` (huggingface_hub, ``hf_raise_for_status``).
"""

from __future__ import annotations

import errno
import os
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.stacks.hub.silence import Silent
from llmatrix.stacks.hub.source import Source

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FIELD: Final = "stack.model.token"


def told(error: Exception, source: Source) -> StepFailure:
    """Say why a download failed; a full volume is told by who knows what it lacks."""
    import httpx2 as httpx  # noqa: PLC0415 - with huggingface_hub, which has it loaded
    from huggingface_hub import errors  # noqa: PLC0415

    if isinstance(error, StepFailure):
        return error
    if isinstance(error, errors.HfHubHTTPError):
        return _answered(error, source)
    if isinstance(error, Silent):
        return _silent(error, source)
    if isinstance(error, httpx.HTTPError):
        return _unreached(error, source)
    if isinstance(error, OSError):
        return _of_the_system(error)
    return StepFailure(
        f"{source.endpoint} does not answer as a Hugging Face Hub ({_words(error)}); look at "
        f"stack.model.endpoint.",
        FailureClass.USER,
    )


def _answered(error: Exception, source: Source) -> StepFailure:
    from huggingface_hub import errors  # noqa: PLC0415

    assert isinstance(error, errors.HfHubHTTPError)  # noqa: S101 - the caller has looked
    repo, status = source.wanted.repo, error.response.status_code
    page = f"{source.endpoint}/{repo}"
    if isinstance(error, errors.GatedRepoError):
        message = (
            f"{repo} is gated, and the owner of the token has no access to it: ask for it at {page}"
            if source.token
            else f"{repo} is gated: ask for access at {page}, and set {_FIELD}"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        message = (
            f"{repo} has no revision {source.wanted.revision}; its commits are at "
            f"{page}/commits/main"
        )
    elif isinstance(error, errors.RepositoryNotFoundError):
        private = (
            "or it is private and the owner of the token may not see it"
            if source.token
            else f"or it is private and needs {_FIELD}"
        )
        message = f"there is no repository {repo} at {source.endpoint}, {private}"
    elif isinstance(error, errors.EntryNotFoundError):
        message = f"{source.endpoint} lists a file of {repo} and has it not: {error.response.url}"
    elif status == HTTPStatus.UNAUTHORIZED:
        message = f"{source.endpoint} does not know the token (401): it is wrong, or has expired"
    elif status == HTTPStatus.FORBIDDEN:
        message = f"the token may not read {repo} at {source.endpoint} (403)"
    else:
        passing = status in {408, 425, 429} or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return StepFailure(
            f"{source.endpoint} answers {status} for {repo}.",
            FailureClass.ENVIRONMENT if passing else FailureClass.USER,
        )
    return StepFailure(f"{message}.", FailureClass.USER)


def _of_the_system(error: OSError) -> StepFailure:
    if error.errno in _READ_ONLY:
        return StepFailure(
            f"the volume cannot be written ({_words(error)}); the download runs as user "
            f"{os.getuid()}, who must be allowed to.",
            FailureClass.USER,
        )
    return StepFailure(f"the download broke off: {_words(error)}.", FailureClass.ENVIRONMENT)


def _silent(error: Silent, source: Source) -> StepFailure:
    whose = source.endpoint
    if error.host != urlsplit(source.endpoint).netloc:
        whose = f"{error.host}, where {source.endpoint} keeps the file,"
    what = "has sent nothing" if error.connected else "cannot be reached: nobody answered"
    return StepFailure(f"{whose} {what} for {error.seconds:.0f} s.", FailureClass.ENVIRONMENT)


def _unreached(error: Exception, source: Source) -> StepFailure:
    import httpx2 as httpx  # noqa: PLC0415

    if isinstance(error, httpx.ConnectError):
        message = f"{source.endpoint} cannot be reached: {_words(error)}"
    else:
        message = f"the connection to {source.endpoint} broke: {_words(error)}"
    return StepFailure(f"{message}.", FailureClass.ENVIRONMENT)


def _words(error: Exception) -> str:
    told_ = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join((told_ or type(error).__name__).split()).rstrip(".")[:300]
