"""How well the range of context lengths that a replica's label tells suits a prompt.

The formula is that of llm-d-router v0.9, ``scorer/contextlengthaware``.
"""

from __future__ import annotations

from typing import Final

_FALLBACK: Final = 0.3
"""What a prompt outside of the range scores less than, and one inside more."""
_WITHOUT_LABEL: Final = 0.5


def parse(label: str) -> tuple[int, int] | None:
    """Read a range such as ``0-2048``; None when it is none."""
    parts = label.split("-")
    try:
        least, most = (int(part) for part in parts)
    except ValueError:
        return None
    return (least, most) if least <= most else None


def admits(label: str | None, tokens: int) -> bool:
    """Tell whether a replica with this label takes so long a prompt; without a label it does."""
    if label is None:
        return True
    found = parse(label)
    return found is not None and found[0] <= tokens <= found[1]


def score(label: str | None, tokens: int) -> float:
    """Score a replica with this label from 0 to 1 for a prompt of so many tokens."""
    if label is None:
        return _WITHOUT_LABEL
    found = parse(label)
    if found is None:
        return 0.0
    least, most = found
    width = most - least
    if not least <= tokens <= most:
        distance = tokens - most if tokens > most else least - tokens
        return _FALLBACK / (1 + distance / 1000)
    if not width:
        return 1.0
    inside = 0.7 / (1 + width / 10_000) + 0.3 * (most - tokens) / width
    return _FALLBACK + inside * (1 - _FALLBACK)
