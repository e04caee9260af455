"""Refusals in words, and of the class that callers tell apart."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.faults import AlreadyThere, ClusterFault, Gone, Refused, fault
from llmatrix.errors import EnvironmentFault


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (401, {"message": "Unauthorized"}, Refused),
        (403, {"reason": "Forbidden", "message": 'cannot list resource "pods"'}, Refused),
        (409, {"reason": "AlreadyExists", "message": "it exists"}, AlreadyThere),
        (409, {"reason": "Conflict", "message": "changed"}, ClusterFault),
        (410, {"reason": "Expired", "message": "too old"}, Gone),
        (500, "<html>", ClusterFault),
        (0, None, ClusterFault),
    ],
)
def test_the_class_of_a_refusal(status: int, document: Any, kind: type[ClusterFault]) -> None:
    found = fault("cannot list pods", status, document)
    assert type(found) is kind
    assert found.status == status
    assert isinstance(found, EnvironmentFault)
    assert str(found).startswith("cannot list pods: ")


def test_what_is_not_told_is_the_status() -> None:
    assert str(fault("cannot x", 502, {})) == "cannot x: the API server answered 502"
