"""What the steps of a lane are told when they run in a cluster, beside the trial."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from llmatrix.errors import UserError
from llmatrix.plan.document import decode, encode
from llmatrix.plan.trial import Trial
from llmatrix.stacks.site_address import SiteAddress


@dataclass(frozen=True, slots=True)
class LaneOrders:
    """The orders of one lane.

    Attributes:
        site: of the lane; with ``fresh``, what the sites of its trials are named after.
        store: where records go: a store's URL, or the folder at which the claim is mounted.
        retries: more tries for a trial that failed by what may pass.
        fresh: every trial has its own site, and takes it down.
        slots: how many trials may be on their way at once; with ``fresh``, where Tekton starts
            all of them together. 0: no limit.
    """

    site: SiteAddress
    store: str
    retries: int
    fresh: bool = False
    slots: int = 0

    def site_of(self, trial: Trial) -> SiteAddress:
        """Give the site on which a trial runs."""
        return self.site.of_trial(trial.id) if self.fresh else self.site

    def encoded(self) -> str:
        """Write them as a document that can travel."""
        return encode(dataclasses.asdict(self))

    @classmethod
    def decoded(cls, text: str) -> Self:
        """Read what ``encoded`` wrote.

        Raises:
            UserError: it is damaged, or of another version.
        """
        try:
            return _ORDERS.validate_python(decode(text))  # type: ignore[return-value]
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise UserError(
                f"this llmatrix cannot read the orders that it was given ({why}); use the image of "
                f"the version that submitted them"
            ) from None


_ORDERS: Final = TypeAdapter(LaneOrders)
