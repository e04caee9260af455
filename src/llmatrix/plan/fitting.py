"""Which resolved treatments fit: judged once for each model on each stack, whatever the traffic."""

from __future__ import annotations

from llmatrix.plan import capacity
from llmatrix.plan.capacity import Judged
from llmatrix.plan.resolve import Resolved, Resolver


class Fitting:
    """Holds treatments against the memory that they would be served in."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._judged: dict[tuple[int, int], Judged] = {}
        self._tokens: dict[int, int] = {}

    @property
    def unjudged(self) -> list[str]:
        """Of which models and accelerators nobody can tell, and why."""
        return sorted({each.unknown for each in self._judged.values() if each.unknown})

    def lacking(self, resolved: Resolved) -> str:
        """Say what of a treatment does not fit; "" if all may."""
        known = self._judged.get(resolved[:2])
        if known is None:
            model, stack = self._resolver.model(resolved), self._resolver.stack(resolved)
            known = self._judged[resolved[:2]] = capacity.judged(model, stack)
        return capacity.lacking(known.needs, self.tokens(resolved)) if known.needs else ""

    def tokens(self, resolved: Resolved) -> int:
        """Give the tokens of the longest request of a treatment, prompt and answer."""
        number = resolved[2]
        if number not in self._tokens:
            self._tokens[number] = self._resolver.workload(resolved).most_tokens
        return self._tokens[number]
