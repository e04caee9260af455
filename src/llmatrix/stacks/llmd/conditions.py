"""What the controllers of gateways say about objects: the conditions that do not hold.

(Gateway API, "GatewayConditionType", "RouteConditionType" and GEP-713, "PolicyAncestorStatus".)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from llmatrix.cluster.kinds import Object

WANTED: Final[Mapping[str, tuple[str, ...]]] = {
    "Gateway": ("Accepted", "Programmed"),
    "HTTPRoute": ("Accepted", "ResolvedRefs"),
    "Backend": ("Accepted",),
    "EnvoyExtensionPolicy": ("Accepted",),
    "EnvoyPatchPolicy": ("Accepted", "Programmed"),
}
"""By kind, the conditions that must hold; objects of other kinds are not judged."""
_PASSING: Final = frozenset({"Pending", "NoResources", "AddressNotAssigned", "BackendNotFound"})
"""Reasons for which a condition may not hold for a while, though all that was asked for is right:
the proxy starts, the load balancer is made, the pool is made by a later step."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """A condition that does not hold.

    Attributes:
        about: kind and name of the object.
        condition: type of the condition.
        reason: why, in the controller's word; "" where no controller has told anything.
        message: the controller's own sentence.
    """

    about: str
    condition: str
    reason: str = ""
    message: str = ""

    @property
    def told(self) -> bool:
        """Whether a controller has said anything about this generation of the object."""
        return bool(self.reason)

    @property
    def passing(self) -> bool:
        """Whether it may come to hold by itself."""
        return not self.told or self.reason in _PASSING

    def __str__(self) -> str:
        """Say it in words."""
        if not self.told:
            return f"{self.about} is not {self.condition}: no controller has said anything of it"
        why = f": {self.message}" if self.message else ""
        return f"{self.about} is not {self.condition} ({self.reason}{why})"


def unmet(document: Object, gateway: str) -> list[Unmet]:
    """Give the conditions of an object that do not hold for what is asked of it now.

    Args:
        document: the object, as the API server has it.
        gateway: name of the Gateway; what others say of a route is nothing to us.
    """
    metadata, wanted = document["metadata"], WANTED.get(document["kind"], ())
    about = f"{document['kind']} {metadata['namespace']}/{metadata['name']}"
    generation = metadata.get("generation", 1)
    found: list[Unmet] = []
    for conditions in _told(document, gateway):
        by_type = {each["type"]: each for each in conditions if _is_of(each, generation)}
        found += _lacking(about, wanted, by_type)
    if document["kind"] == "Gateway":
        found += _of_listeners(about, document, generation)
    return found


def _told(document: Object, gateway: str) -> list[list[Object]]:
    """Give what each controller says of an object; one list that is empty if none does."""
    status = document.get("status") or {}
    if document["kind"] == "HTTPRoute":
        several = _by(status.get("parents"), "parentRef", gateway)
    elif document["kind"].endswith("Policy"):
        # Of a policy for a route, the ancestor may be either.
        several = [each.get("conditions") or [] for each in status.get("ancestors") or ()]
    else:
        several = [status.get("conditions") or []]
    return several or [[]]


def _by(parents: Iterable[Object] | None, key: str, gateway: str) -> list[list[Object]]:
    ours = [each for each in parents or () if each.get(key, {}).get("name") == gateway]
    return [each.get("conditions") or [] for each in ours]


def _is_of(condition: Object, generation: int) -> bool:
    """Tell whether a condition is about this generation; some controllers do not tell."""
    observed: int = condition.get("observedGeneration") or generation
    return observed >= generation


def _lacking(about: str, wanted: Iterable[str], by_type: Mapping[str, Object]) -> Iterator[Unmet]:
    for name in wanted:
        condition = by_type.get(name)
        if condition is None or condition["status"] == "Unknown":
            # "Unknown, Pending: waiting for controller" is the definition's own default.
            yield Unmet(about, name)
        elif condition["status"] != "True":
            message = " ".join(str(condition.get("message", "")).split())
            yield Unmet(about, name, condition.get("reason") or "False", message)


def _of_listeners(about: str, document: Object, generation: int) -> Iterator[Unmet]:
    """Give what is wrong with listeners: the Gateway itself may only say that something is."""
    for listener in (document.get("status") or {}).get("listeners") or ():
        conditions = listener.get("conditions") or ()
        by_type = {
            each["type"]: each
            for each in conditions
            if _is_of(each, generation) and each["status"] == "False"
        }
        wanted = [name for name in ("Accepted", "ResolvedRefs") if name in by_type]
        yield from _lacking(f"listener {listener['name']} of {about}", wanted, by_type)
