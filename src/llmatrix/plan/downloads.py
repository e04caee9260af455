"""How long models take to come from the Hub, as far as the file says how much they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmatrix.plan.capacity_figures import quantity
from llmatrix.plan.estimate import LaneEstimate
from llmatrix.plan.keys import Deployment
from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Model, Run
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stacks import Stack


@dataclass(frozen=True, slots=True)
class Download:
    """A model that a Job downloads into a claim.

    Attributes:
        seconds: that it is thought to take, if nothing of it is there yet; 0 where nobody says how
            much it is.
        outlives: whether a site that is made anew finds it there.
        held: whether servers of another model stand meanwhile, if there are some.
    """

    seconds: float
    outlives: bool
    held: bool


@dataclass(slots=True)
class Downloads:
    """The downloads of an experiment.

    The size of the claim that is made is taken for the model's: more cannot come. Where the file
    leaves it to its default it says nothing of the model.

    Attributes:
        uncounted: repositories of which nobody says how much they are.
    """

    run: Run
    uncounted: set[str] = field(default_factory=set)

    def of(self, model: Model, stack: Stack) -> Download | None:
        """Give what is downloaded for a deployment; None where nothing is."""
        if not isinstance(stack, LlmdStack) or stack.model.source != "huggingface":
            return None
        files, seconds = stack.model, 0.0
        if "size" in files.model_fields_set:
            seconds = quantity(files.size) / self.run.cluster.download_rate
        else:
            self.uncounted.add(files.repo or model.name)
        return Download(
            seconds=seconds,
            outlives=self.run.cluster.namespaced or files.claim is not None,
            # On a claim for one node servers end before a download begins.
            held=files.access_mode == "ReadWriteMany",
        )


@dataclass(slots=True)
class LaneDownloads:
    """Adds to what a lane will take what comes from the Hub, each model once where it stays.

    Attributes:
        sums: of the lane.
        fresh: whether each trial has a site of its own.
        there: keys of the models that have come.
    """

    sums: LaneEstimate
    fresh: bool
    there: set[str] = field(default_factory=set)

    def add(self, download: Download | None, wanted: Deployment, *, others: bool) -> None:
        """Count a download for a deployment; ``others``: whether another stands before it."""
        key = wanted.keys[Step.MODEL]
        if download is None or key in self.there:
            return
        if not self.fresh or download.outlives:
            self.there.add(key)
        self.sums.seconds += download.seconds
        self.sums.download_s += download.seconds
        if others and not self.fresh and download.held:
            self.sums.accelerator_s += download.seconds * wanted.accelerators
