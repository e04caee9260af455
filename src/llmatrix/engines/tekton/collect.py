"""Bring what trials left to where the user wants it: from the cluster's store to the user's.

Records leave the cluster from inside the pipeline. Where the store is an object store, they are
there already; where it is a folder on the user's machine, they wait on a claim and are copied from
it. Collecting again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmatrix.plan.trial import Trial
from llmatrix.results.claim import ClaimStore
from llmatrix.results.record import Failure, Record
from llmatrix.results.records import left_behind
from llmatrix.results.store import Store
from llmatrix.results.transfer import copy_trial

SKEW_S: Final = 5.0
"""Most that clocks of one cluster may differ; a trial takes longer."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Copies what trials left to the user's store, if it is not there already.

    Attributes:
        store: the user's.
        source: the claim on which the pods leave it; None where they reach ``store`` themselves.
    """

    store: Store
    source: ClaimStore | None

    def collect(self, trial: Trial, *, since: float) -> Record | Failure | None:
        """Give what a trial has left after ``since`` (POSIX seconds), None for nothing yet.

        A record from earlier is replaced: whoever asks for the trial does not want that one.

        Raises:
            StoreFault: a store cannot be read or written.
        """
        if self.source is not None:
            copy_trial(self.source, trial.experiment, trial.id, self.store, force=True)
        result = left_behind(self.store, trial.experiment, trial.id)
        return result if result is not None and result.ended_at >= since - SKEW_S else None

    def close(self) -> None:
        """Let go of the claim."""
        if self.source is not None:
            self.source.close()
