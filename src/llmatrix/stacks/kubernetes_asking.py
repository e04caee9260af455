"""From what a cluster refuses to the failure of a step, and what may mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.errors import FailureClass, StepFailure

_WRONG: Final = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_PASSING: Final = ("exceeded quota", "is being terminated")
"""Refused as forbidden, but not for want of rights."""


@contextmanager
def asking() -> Iterator[None]:
    """Turn what the cluster refuses meanwhile into a failure of the step.

    Raises:
        StepFailure: class ``user`` for objects that are wrong and for missing rights, else
            ``environment``.
    """
    try:
        yield
    except ClusterFault as error:
        raise StepFailure(f"{error}.".replace("..", "."), _class(error)) from error


def _class(error: ClusterFault) -> FailureClass:
    if error.status in _WRONG:
        return FailureClass.USER
    if isinstance(error, Refused) and not any(words in str(error) for words in _PASSING):
        return FailureClass.USER
    return FailureClass.ENVIRONMENT
