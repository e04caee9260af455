"""Bring what trials left to where the user wants it: from the cluster's store to the user's.

Records leave the cluster from inside the pipeline. Where the store is an object store, they are
there already; where it is a folder on the user's machine, they wait on a claim and are copied from
it. Collecting again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
<<<<<<< HEAD
=======
from typing import Final
>>>>>>> main

from llmatrix.plan.trial import Trial
from llmatrix.results.claim import ClaimStore
from llmatrix.results.record import Failure, Record
<<<<<<< HEAD
from llmatrix.results.records import read_failure, read_record
from llmatrix.results.store import Store
from llmatrix.results.transfer import copy_trial

=======
from llmatrix.results.records import left_behind
from llmatrix.results.store import Store
from llmatrix.results.transfer import copy_trial

SKEW_S: Final = 5.0
"""Most that clocks of one cluster may differ; a trial takes longer."""

>>>>>>> main

@dataclass(frozen=True, slots=True)
class Collector:
    """Copies what trials left to the user's store, if it is not there already.

    Attributes:
        store: the user's.
        source: the claim on which the pods leave it; None where they reach ``store`` themselves.
<<<<<<< HEAD
        fresh: replace records that the user's store has from earlier.
=======
>>>>>>> main
    """

    store: Store
    source: ClaimStore | None
<<<<<<< HEAD
    fresh: bool = False
=======
>>>>>>> main

    def collect(self, trial: Trial, *, since: float) -> Record | Failure | None:
        """Give what a trial has left after ``since`` (POSIX seconds), None for nothing yet.

<<<<<<< HEAD
=======
        A record from earlier is replaced: whoever asks for the trial does not want that one.

>>>>>>> main
        Raises:
            StoreFault: a store cannot be read or written.
        """
        if self.source is not None:
<<<<<<< HEAD
            copy_trial(self.source, trial.experiment, trial.id, self.store, force=self.fresh)
        result = left_behind(self.store, trial)
        if isinstance(result, Record) and not self.fresh:
            return result
        return result if result is not None and result.ended_at >= since else None
=======
            copy_trial(self.source, trial.experiment, trial.id, self.store, force=True)
        result = left_behind(self.store, trial.experiment, trial.id)
        return result if result is not None and result.ended_at >= since - SKEW_S else None
>>>>>>> main

    def close(self) -> None:
        """Let go of the claim."""
        if self.source is not None:
            self.source.close()
<<<<<<< HEAD


def left_behind(store: Store, trial: Trial) -> Record | Failure | None:
    """Read a trial's record, or else its failure, or None."""
    try:
        return read_record(store, trial.experiment, trial.id)
    except KeyError:
        pass
    try:
        return read_failure(store, trial.experiment, trial.id)
    except KeyError:
        return None
=======
>>>>>>> main
