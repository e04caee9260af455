"""What can go wrong between us and the API server, told in words that name the object."""

from __future__ import annotations

from typing import Any

from llmatrix.errors import EnvironmentFault


class ClusterFault(EnvironmentFault):
    """The cluster cannot be reached, or refused what was asked.

    Attributes:
        status: of the HTTP answer; 0 where there was none.
        reason: as Kubernetes names it (``Forbidden``, ``AlreadyExists``), or "".
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Refused(ClusterFault):
    """The account has no right to do what was asked."""


class AlreadyThere(ClusterFault):
    """An object of that name is there."""


class Gone(ClusterFault):
    """A watch asked for a version that the API server no longer has: list again."""


class Unreachable(ClusterFault):
    """Nobody answers."""


def fault(what: str, status: int, document: Any) -> ClusterFault:
    """Make the error of a refused call; ``document`` is its ``Status`` object, if it has one."""
    told = document if isinstance(document, dict) else {}
    reason, message = str(told.get("reason", "")), str(told.get("message", "")).strip()
    sentence = f"{what}: {message or f'the API server answered {status}'}"
    kinds = {401: Refused, 403: Refused, 410: Gone}
    kind = AlreadyThere if reason == "AlreadyExists" else kinds.get(status, ClusterFault)
    if status == 401:  # noqa: PLR2004 - unauthorised
        sentence += "; log in to the cluster again"
    return kind(sentence, status=status, reason=reason)
