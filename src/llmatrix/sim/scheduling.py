"""How one replica, or two, are chosen for a request: profiles of filters, scorers and a picker."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.filtering import FILTERS
from llmatrix.sim.incoming import Incoming
from llmatrix.sim.picking import PICKERS
from llmatrix.sim.profiles import PickerConfig, ProfileConfig
from llmatrix.sim.scoring import SCORERS, Scorer, SessionAffinity


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a request goes.

    Attributes:
        endpoint: the replica that answers.
        prefill: the one that prefills for it; None when it does so itself.
    """

    endpoint: Endpoint
    prefill: Endpoint | None = None

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Every replica that takes part, the one that answers first."""
        return (self.endpoint,) if self.prefill is None else (self.endpoint, self.prefill)


class Profile:
    """One scheduling profile.

    Args:
        config: what it says.
        scorers: by name; one that is declared once learns from all profiles that use it.
        rng: for ties and random pickers.
    """

    def __init__(
        self, config: ProfileConfig, scorers: Mapping[str, Scorer], rng: random.Random
    ) -> None:
        self._filters = [FILTERS[used.type](used) for used in config.filters]
        self._scorers = [(used.weight, scorers[used.name]) for used in config.scorers]
        self._pick = PICKERS[config.picker.type]
        self._rng = rng

    def choose(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        """Choose one of the endpoints; None when the filters leave none.

        Scores are held between 0 and 1, then weighted and added.
        """
        left = endpoints
        for keep in self._filters:
            left = keep(incoming, left)
        if not left:
            return None
        totals = [0.0] * len(left)
        for weight, scorer in self._scorers:
            for index, score in enumerate(scorer.score(incoming, left)):
                totals[index] += weight * min(1.0, max(0.0, score))
        return left[self._pick(totals, self._rng)]


class Scheduler:
    """All profiles, and what their scorers have learnt.

    Attributes:
        scorers: each that is declared and used, once.
    """

    def __init__(self, config: PickerConfig, rng: random.Random) -> None:
        used = {u.name: u for profile in config.profiles for u in profile.scorers}
        named = {name: SCORERS[u.type](u) for name, u in used.items()}
        self.scorers = list(named.values())
        self.splits = config.disaggregation is not None
        self._split = config.disaggregation
        self._primary = Profile(config.primary, named, rng)
        self._prefill: Profile | None = None
        if self._split is not None and self._split.least is not None:
            self._prefill = Profile(config.named(self._split.prefill), named, rng)

    def choose(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> Choice | None:
        """Choose for one request, and learn from the choice; None when no replica may have it."""
        endpoint = self._primary.choose(incoming, endpoints)
        if endpoint is None:
            return None
        prefill = None
        if self._prefill is not None and self._worth_it(incoming, endpoint):
            # Nobody to prefill means that the decode replica does, as with the real picker.
            prefill = self._prefill.choose(incoming, endpoints)
        choice = Choice(endpoint, None if prefill is endpoint else prefill)
        for scorer in self.scorers:
            scorer.routed(incoming, choice.all)
        return choice

    def _worth_it(self, incoming: Incoming, endpoint: Endpoint) -> bool:
        """Tell whether so much is not cached at the decode replica that another prefills."""
        split = self._split
        if split is None or split.least is None:
            return False
        if not split.least:
            return True
        blocks = incoming.blocks.get(split.prefix)
        cached = blocks.matched.get(endpoint, 0) * blocks.size if blocks is not None else 0
        return len(incoming.prompt) - cached >= split.least

    def drop(self, endpoint: Endpoint) -> None:
        """Forget a replica that went away."""
        for scorer in self.scorers:
            scorer.drop(endpoint)

    def reset(self) -> None:
        """Forget everything that was learnt."""
        for scorer in self.scorers:
            scorer.reset()

    def answer_headers(self, endpoint: Endpoint) -> bytes:
        """Give the headers that an answer from this replica carries, each line ended."""
        for scorer in self.scorers:
            if isinstance(scorer, SessionAffinity):
                return scorer.answer_headers(endpoint)
        return b""
