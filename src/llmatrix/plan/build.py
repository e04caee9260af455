"""Experiment to plan: treatments, trials, lanes and what they will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from llmatrix.errors import Place, Problem, SpecError, UserError
from llmatrix.plan.controls import interleave
from llmatrix.plan.digest import canonical, digest
from llmatrix.plan.downloads import Downloads, LaneDownloads
from llmatrix.plan.estimate import (
    ASSUMED_STEP_S,
    Estimate,
    LaneEstimate,
    StepSeconds,
    total,
)
from llmatrix.plan.fitting import Fitting
from llmatrix.plan.keys import Deployment, deployment, transition, trial_keys
from llmatrix.plan.lanes import pack
from llmatrix.plan.order import Block, Placed, split_plot
from llmatrix.plan.resolve import Resolved, Resolver
from llmatrix.plan.step import Step
from llmatrix.plan.treatments import Combination, LevelTable, combinations, level_table
from llmatrix.plan.trial import Replicate, Trial
from llmatrix.plan.variants import Finish, as_it_is
from llmatrix.spec.experiment import Experiment, Model, Replicates, Treatment
from llmatrix.spec.load import Loaded
from llmatrix.spec.stacks import Stack

Versions = Callable[[str, str], Mapping[str, str]]
"""Kind of stack and name of harness to the versions of what measures."""

_SEED_BITS = 63


@dataclass(frozen=True, slots=True)
class Lane:
    """Trials that run one after another on one site."""

    blocks: tuple[Block, ...]

    def numbers(self) -> Iterator[int]:
        """Give the numbers of the lane's trials, in their order."""
        for block in self.blocks:
            yield from block.flat()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A treatment that cannot fit: its levels' labels by path, and what is too much for what."""

    levels: Mapping[str, str]
    why: str


class Plan:
    """The trials of an experiment, in lanes. Trials are made when asked for.

    ``step_seconds`` tells, by kind of stack, how long applied steps took in earlier trials; what
    it does not tell is assumed, downloads by the sizes in the file. ``finish`` makes a stack whole
    where validation alone does not: it puts what a chart renders to in its place. Treatments
    that surely do not fit where they would be served are left out, and told as ``left_out``;
    ``unjudged`` says of what nobody can tell.

    A trial's number counts replicates within treatments within repetitions of deployments; those
    of control trials come after all of these.
    """

    def __init__(
        self,
        loaded: Loaded,
        versions: Versions,
        *,
        only: Mapping[str, frozenset[str]] | None = None,
        step_seconds: Mapping[str, StepSeconds] | None = None,
        finish: Finish = as_it_is,
    ) -> None:
        self.loaded = loaded
        self.experiment: Experiment = loaded.experiment
        self.replicates = _replicates(self.experiment)
        self._versions = versions
        seen = step_seconds or {}
        self._step_s = {kind: {**s, **seen.get(kind, {})} for kind, s in ASSUMED_STEP_S.items()}
        self._table: LevelTable = level_table(loaded)
        self._resolver = Resolver(loaded, self._table, finish)
        self._combinations: list[Combination] = []
        self._resolved: list[Resolved] = []
        self._deployments: dict[Resolved, Deployment] = {}
        self._downloads = Downloads(self.experiment.run)
        self._fitting = Fitting(self._resolver)
        self._left_out: list[tuple[Combination, str]] = []
        self._collect(only or {})
        fresh = self.experiment.run.isolation == "fresh"
        self._controls: list[tuple[int, Replicate]] = []
        blocks = split_plot(self._placed(), self.experiment.run.seed)
        if self.experiment.run.control is not None:
            every = self.experiment.run.control.every
            blocks = [self._controlled(block, every) for block in blocks]
        if fresh:
            blocks = [Block(b.model, ((n,),)) for b in blocks for n in b.flat()]
        packed = pack(blocks, self.experiment.run.parallelism, self._block_seconds)
        self.lanes = tuple(Lane(tuple(each)) for each in packed)
        self.lane_estimates = [self._estimate(lane) for lane in self.lanes]
        self.estimate: Estimate = total(
            self.lane_estimates,
            self.experiment.run.price_per_accelerator_hour,
            self._downloads.uncounted,
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The factors' paths, and those that only ``include`` sets, in the file's order."""
        return self._table.paths

    @property
    def treatments(self) -> int:
        """How many combinations of levels are measured."""
        return len(self._combinations)

    def __len__(self) -> int:
        """Count the trials."""
        return self._replicated + self.controls

    @property
    def controls(self) -> int:
        """How many of the trials are control trials."""
        return len(self._controls)

    def __iter__(self) -> Iterator[Trial]:
        """Give every trial, lane by lane, in its order."""
        for lane in self.lanes:
            yield from map(self.trial, lane.numbers())

    def trial(self, number: int) -> Trial:
        """Make the trial of a number."""
        treatment, replicate = self._treatment_of(number), self._replicate_of(number)
        resolved = self._resolved[treatment]
        document = self._resolver.treatment(resolved)
        versions = self._versions(document.stack.kind, document.workload.harness)
        trial_id = self._id(resolved, replicate, versions)
        standing = self._deployment(resolved, replicate.deployment).keys
        levels = self._table.assignment(self._combinations[treatment])
        seed = digest(self._resolver.workload_digest(resolved), *_told(replicate))
        return Trial(
            id=trial_id,
            experiment=self.experiment.name,
            levels={path: level.label for path, level in levels.items()},
            treatment=document,
            replicate=replicate,
            versions=versions,
            keys=trial_keys(standing, trial_id, fresh=self.experiment.run.isolation == "fresh"),
            traffic_seed=int(seed, 16) % 2**_SEED_BITS,
            estimate_s=self._resolver.workload_s[resolved[2]],
        )

    def distinct_stacks(self) -> Iterator[Treatment]:
        """Give for each distinct pair of model and stack the treatment of the longest requests."""
        longest: dict[tuple[int, int], tuple[int, Resolved]] = {}
        for resolved in self._resolved:
            tokens, known = self._fitting.tokens(resolved), longest.get(resolved[:2])
            if known is None or tokens > known[0]:
                longest[resolved[:2]] = (tokens, resolved)
        for _, resolved in longest.values():
            yield self._resolver.treatment(resolved)

    @property
    def left_out(self) -> list[LeftOut]:
        """The treatments that cannot fit, in the file's order."""
        return [LeftOut(self._labels(each), why) for each, why in self._left_out]

    @property
    def unjudged(self) -> list[str]:
        """Of which models and accelerators nobody can tell whether they fit, and why."""
        return self._fitting.unjudged

    def _labels(self, combination: Combination) -> dict[str, str]:
        levels = self._table.assignment(combination)
        return {path: level.label for path, level in levels.items()}

    def _collect(self, only: Mapping[str, frozenset[str]]) -> None:
        seen: dict[Resolved, int] = {}
        for combination in combinations(self.loaded, self._table, only):
            resolved = self._resolver.resolve(combination)
            earlier = seen.setdefault(resolved, len(self._combinations))
            if earlier != len(self._combinations):
                raise self._twice(self._combinations[earlier], combination)
            self._combinations.append(combination)
            self._resolved.append(resolved)
        if self._combinations:
            self._leave_out()
        else:
            why = "--only selects none of them" if only else "`exclude` removes every one of them"
            raise UserError(f"{self._matrix_place()}: matrix: no treatment is left: {why}.")

    def _leave_out(self) -> None:
        """Leave out what cannot fit.

        Raises:
            UserError: nothing can.
        """
        whys = [self._fitting.lacking(resolved) for resolved in self._resolved]
        if not any(whys):
            return
        together = list(zip(self._combinations, self._resolved, whys, strict=True))
        self._left_out = [(combination, why) for combination, _, why in together if why]
        self._combinations = [combination for combination, _, why in together if not why]
        self._resolved = [resolved for _, resolved, why in together if not why]
        if not self._combinations:
            place = self.loaded.source.place(("stack",))
            raise UserError(f"{place}: stack: no treatment fits: {whys[0]}.")

    def _twice(self, one: Combination, other: Combination) -> SpecError:
        told = [
            ", ".join(f"{p}={level.label}" for p, level in self._table.assignment(c).items())
            for c in (one, other)
        ]
        return SpecError(
            Problem(
                self._matrix_place(),
                "matrix",
                f"two treatments are the same: ({told[0]}) and ({told[1]}).",
                "Remove one of them.",
            )
        )

    def _matrix_place(self) -> Place:
        return self.loaded.source.place(("matrix",))

    def _placed(self) -> Iterator[Placed]:
        for repetition in range(self.replicates.deployments):
            for treatment, resolved in enumerate(self._resolved):
                stands = self._deployment(resolved, repetition)
                model, block, front = stands.keys[Step.MODEL], stands.block, stands.front
                for replicate in range(self.replicates.workloads):
                    number = self._number(treatment, Replicate(repetition, replicate))
                    yield Placed(number, repetition, model, block, front)

    def _number(self, treatment: int, replicate: Replicate) -> int:
        each = self.replicates.workloads
        return (replicate.deployment * self.treatments + treatment) * each + replicate.workload

    def _controlled(self, block: Block, every: int) -> Block:
        """Put control trials into a block: of its treatment that comes first in the file."""
        control = min(map(self._treatment_of, block.flat()))
        front = next(
            place
            for place, part in enumerate(block.trials)
            if any(self._treatment_of(number) == control for number in part)
        )
        repetition = self._replicate_of(block.trials[0][0]).deployment
        full = interleave(block, front=front, every=every, first=len(self))
        added = len([*full.flat()]) - len([*block.flat()])
        self._controls += [(control, Replicate(repetition, 0, n + 1)) for n in range(added)]
        return full

    @property
    def _replicated(self) -> int:
        return len(self._combinations) * self.replicates.deployments * self.replicates.workloads

    def _treatment_of(self, number: int) -> int:
        if number >= self._replicated:
            return self._controls[number - self._replicated][0]
        return number // self.replicates.workloads % len(self._combinations)

    def _replicate_of(self, number: int) -> Replicate:
        if number >= self._replicated:
            return self._controls[number - self._replicated][1]
        repetition = number // (self.replicates.workloads * len(self._combinations))
        return Replicate(repetition, number % self.replicates.workloads)

    def _deployment_of(self, number: int) -> Deployment:
        resolved = self._resolved[self._treatment_of(number)]
        return self._deployment(resolved, self._replicate_of(number).deployment)

    def _deployment(self, resolved: Resolved, repetition: int) -> Deployment:
        key = (resolved[0], resolved[1], repetition)
        known = self._deployments.get(key)
        if known is None:
            stack = self._resolver.stack(resolved)
            harness = self._resolver.workload(resolved).harness
            known = deployment(
                self.experiment.name,
                self._resolver.model(resolved),
                stack,
                stack_version=self._versions(stack.kind, harness)["stack"],
                repetition=repetition,
            )
            self._deployments[key] = known
        return known

    def _id(
        self,
        resolved: Resolved,
        replicate: Replicate,
        versions: Mapping[str, str],
    ) -> str:
        content = self._resolver.treatment_digest(resolved)
        return digest(content, *_told(replicate), canonical(dict(versions)))

    def _block_seconds(self, block: Block) -> float:
        kind = self._deployment_of(next(block.flat())).kind
        workload_s, resolved, treatment_of = (
            self._resolver.workload_s,
            self._resolved,
            self._treatment_of,
        )
        return sum(self._step_s[kind].values()) + sum(
            workload_s[resolved[treatment_of(number)][2]] for number in block.flat()
        )

    def _estimate(self, lane: Lane) -> LaneEstimate:
        sums = LaneEstimate()
        fresh = self.experiment.run.isolation == "fresh"
        standing: Deployment | None = None
        lane_downloads = LaneDownloads(sums, fresh=fresh)
        for number in lane.numbers():
            workload = self._resolved[self._treatment_of(number)][2]
            wanted = self._deployment_of(number)
            seconds = self._resolver.workload_s[workload]
            if fresh or wanted is not standing:
                steps = transition(None if fresh else standing, wanted)
                for step in steps:
                    sums.transitions[step] = sums.transitions.get(step, 0) + 1
                    seconds += self._step_s[wanted.kind].get(step, 0.0)
                if Step.MODEL in steps and Step.MODEL not in self._step_s[wanted.kind]:
                    download = self._downloads.of(*self._model_and_stack(number))
                    lane_downloads.add(download, wanted, others=standing is not None)
            standing = wanted
            sums.trials += 1
            sums.seconds += seconds
            sums.window_s += self._resolver.window_s[workload]
            sums.accelerator_s += seconds * wanted.accelerators
        return sums

    def _model_and_stack(self, number: int) -> tuple[Model, Stack]:
        resolved = self._resolved[self._treatment_of(number)]
        return self._resolver.model(resolved), self._resolver.stack(resolved)


def _replicates(experiment: Experiment) -> Replicates:
    asked = experiment.replicates
    return asked if isinstance(asked, Replicates) else Replicates(workloads=asked)


def _told(replicate: Replicate) -> list[str]:
    """Give what tells a replicate from all others, for a digest."""
    return [str(number) for number in replicate.document().values()]
