"""What a picker's configuration says, once it is read: profiles, plugins with their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DEFAULT_WEIGHT: Final = 1


@dataclass(frozen=True, slots=True)
class Used:
    """One declared plugin as a profile uses it.

    Attributes:
        parameters: each of the type's parameters, defaults filled in.
        weight: of a scorer.
    """

    type: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    weight: int = DEFAULT_WEIGHT


@dataclass(frozen=True, slots=True)
class Saturation:
    """When the pool counts as saturated: it then drops requests that objectives mark sheddable.

    No request here has an objective, so none is ever dropped, as with the real picker.
    """

    queue_depth_threshold: int = 5
    kv_cache_util_threshold: float = 0.8
    metrics_staleness_threshold: float = 0.2


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """One scheduling profile: filters in order, then weighted scorers, then the picker."""

    name: str
    filters: tuple[Used, ...]
    scorers: tuple[Used, ...]
    picker: Used


@dataclass(frozen=True, slots=True)
class Disaggregation:
    """How a prompt may be prefilled by another replica than the one that decodes.

    Attributes:
        decode, prefill: names of the profiles that choose those replicas.
        prefix: name of the prefix scorer that tells what the decode replica has cached.
        least: bytes of the prompt's uncached part from which on another replica prefills; 0 for
            always, None for never.
    """

    decode: str
    prefill: str
    prefix: str = "prefix-cache-scorer"
    least: int | None = 0


@dataclass(frozen=True, slots=True)
class PickerConfig:
    """What the router does with each request.

    Attributes:
        profiles: one, or those that ``disaggregation`` names.
    """

    profiles: tuple[ProfileConfig, ...]
    disaggregation: Disaggregation | None = None
    saturation: Saturation = Saturation()

    @property
    def splits(self) -> bool:
        """Whether prompts may be prefilled by another replica than the one that decodes."""
        return self.disaggregation is not None and self.disaggregation.least is not None

    @property
    def primary(self) -> ProfileConfig:
        """The profile whose replica answers the client."""
        if self.disaggregation is None:
            return self.profiles[0]
        return self.named(self.disaggregation.decode)

    def named(self, name: str) -> ProfileConfig:
        """Give the profile of that name, of which there must be one."""
        return next(profile for profile in self.profiles if profile.name == name)


RANDOM: Final = PickerConfig(
    (ProfileConfig("default", (), (), Used("random-picker", "random-picker")),)
)
"""What a router does that was given no configuration."""
