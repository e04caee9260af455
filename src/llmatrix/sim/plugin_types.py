"""What is known of a plugin of the endpoint picker: role, parameters, how it is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Status(StrEnum):
    """How truly a plugin is simulated."""

    MODELLED = "modelled"
    """The same formula on the same inputs."""
    APPROXIMATED = "approximated"
    """Near to it; the note says what differs."""
    REFUSED = "refused"
    """Known, but a configuration with it cannot be simulated."""


class Role(StrEnum):
    """What a plugin does in a scheduling profile."""

    SCORER = "scorer"
    PICKER = "picker"
    FILTER = "filter"
    HANDLER = "profile handler"
    DECIDER = "decider"
    HEADERS = "header handler"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a plugin and what it is when left out.

    Attributes:
        kind: ``texts`` is a list of text, ``names`` a mapping of text to text, ``selector`` the two
            fields ``matchLabels`` and ``matchExpressions`` of a label selector, which stand among
            the plugin's parameters themselves.
        positive: whether the picker puts the default in place of a value that is not positive.
        required: whether the picker refuses a plugin without it.
    """

    kind: Literal["integer", "boolean", "duration", "number", "text", "texts", "names", "selector"]
    default: Any = None
    positive: bool = True
    required: bool = False


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin type.

    Attributes:
        note: how it works, or what is not simulated.
    """

    type: str
    role: Role
    status: Status
    note: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
