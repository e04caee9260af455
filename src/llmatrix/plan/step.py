"""The eight steps, and which stand on which (design, section 3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """One of the eight things done for a trial, in their order."""

    NAMESPACE = "namespace"
    GATEWAY = "gateway"
    ROUTER = "router"
    MODEL = "model"
    SERVER = "server"
    WORKLOAD = "workload"
    UPLOAD = "upload"
    TEARDOWN = "teardown"


STACK_STEPS: Final = (Step.NAMESPACE, Step.GATEWAY, Step.ROUTER, Step.MODEL, Step.SERVER)
"""The steps whose outcome stands on a site, in their order."""

STANDS_ON: Final[dict[Step, tuple[Step, ...]]] = {
    Step.NAMESPACE: (),
    Step.GATEWAY: (Step.NAMESPACE,),
    Step.ROUTER: (Step.GATEWAY,),
    Step.MODEL: (Step.NAMESPACE,),
    Step.SERVER: (Step.MODEL,),
}
"""Whose keys go into a step's key: what must be made anew when they are."""
