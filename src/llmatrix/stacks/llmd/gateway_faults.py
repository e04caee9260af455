"""When a condition that does not hold is a failure, and what may mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.spec.llmd import LlmdGateway
from llmatrix.stacks.llmd.conditions import Unmet

PATIENCE_S: Final = 5.0
"""A controller that sees our objects one by one may find fault with the first of them."""
UNCLAIMED_S: Final = 30.0
"""Seconds for a controller to say anything about an object."""


@dataclass(slots=True)
class Watch:
    """Since when each condition does not hold, for a layer that is on its way up."""

    layer: LlmdGateway
    since: dict[tuple[str, str], float] = field(default_factory=dict)

    def judge(self, found: Sequence[Unmet], now: float) -> None:
        """Take what does not hold at a time, in seconds.

        Raises:
            StepFailure: class ``user``, for what has lasted longer than it may.
        """
        keys = {(each.about, f"{each.condition} {each.reason}"): each for each in found}
        self.since = {key: self.since.get(key, now) for key in keys}
        for key, each in keys.items():
            lasts_s = now - self.since[key]
            if not each.told and not awaits_the_pool(each) and lasts_s > UNCLAIMED_S:
                raise StepFailure(f"{each}. {_unclaimed(self.layer)}", FailureClass.USER)
            if not each.passing and lasts_s > PATIENCE_S:
                raise StepFailure(f"{each}.{advice(each, self.layer)}", FailureClass.USER)


def awaits_the_pool(each: Unmet) -> bool:
    """Tell whether a condition may be unmet as long as the router's step has not been done."""
    return each.condition == "ResolvedRefs" and each.passing


def advice(each: Unmet, layer: LlmdGateway) -> str:
    """Say what may mend it, after a space; "" where the controller's own word must do."""
    if each.reason == "InvalidKind" and layer.support != "envoy-gateway":
        return (
            f" The class {layer.class_name} routes to no InferencePools; take one that does, or "
            f"set stack.gateway.support: envoy-gateway if it is Envoy Gateway's."
        )
    if each.reason == "Disabled" or "not enabled" in each.message or "disabled" in each.message:
        return (
            " Envoy Gateway must have enableBackend and enableEnvoyPatchPolicy on, in "
            "extensionApis of its configuration."
        )
    return ""


def _unclaimed(layer: LlmdGateway) -> str:
    return (
        f"Is there a GatewayClass {layer.class_name}, does its controller run, and does "
        f"stack.gateway.support: {layer.support} fit it? Ask: llmatrix doctor FILE"
    )
