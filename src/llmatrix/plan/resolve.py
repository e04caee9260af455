"""Combinations of levels to resolved treatments."""

from __future__ import annotations

from array import array

from llmatrix.errors import Problem, SpecError
from llmatrix.plan.digest import digest
from llmatrix.plan.estimate import workload_seconds
from llmatrix.plan.treatments import Combination, LevelTable
from llmatrix.plan.variants import Finish, Variants, as_it_is
from llmatrix.spec.experiment import Model, Treatment
from llmatrix.spec.load import Loaded
from llmatrix.spec.stacks import Stack
from llmatrix.spec.workloads import Workload

Resolved = tuple[int, int, int]
"""A treatment as the numbers of its model, stack and workload."""


class Resolver:
    """Turns combinations into treatments, and remembers every distinct section."""

    def __init__(self, loaded: Loaded, table: LevelTable, finish: Finish = as_it_is) -> None:
        self.workload_s = array("d")
        self.window_s = array("d")
        self._loaded = loaded
        self._table = table
        self._with_tokenizer = bytearray()
        self._as_text = bytearray()
        self._models = Variants("model", loaded, table, self._note_model)
        self._stacks = Variants("stack", loaded, table, finish=finish)
        self._workloads = Variants("workload", loaded, table, self._note_workload)

    def resolve(self, combination: Combination) -> Resolved:
        """Give the model, stack and workload that a combination selects.

        Raises:
            SpecError: the levels do not go together; it names their places in the file.
        """
        model, stack = self._models.number(combination), self._stacks.number(combination)
        workload = self._workloads.number(combination)
        if self._as_text[workload] and not self._with_tokenizer[model]:
            raise self._no_tokenizer(combination)
        return model, stack, workload

    def model(self, resolved: Resolved) -> Model:
        """Give the model section."""
        return self._models.section(resolved[0])  # type: ignore[no-any-return]

    def stack(self, resolved: Resolved) -> Stack:
        """Give the stack section."""
        return self._stacks.section(resolved[1])  # type: ignore[no-any-return]

    def workload(self, resolved: Resolved) -> Workload:
        """Give the workload section."""
        return self._workloads.section(resolved[2])  # type: ignore[no-any-return]

    def workload_digest(self, resolved: Resolved) -> str:
        """Give the hash of the workload section."""
        return self._workloads.digest(resolved[2])

    def treatment(self, resolved: Resolved) -> Treatment:
        """Put a treatment together from sections that were validated already."""
        return Treatment.model_construct(
            model=self.model(resolved), stack=self.stack(resolved), workload=self.workload(resolved)
        )

    def treatment_digest(self, resolved: Resolved) -> str:
        """Hash a treatment by the hashes of its sections."""
        model, stack, workload = resolved
        return digest(
            self._models.digest(model), self._stacks.digest(stack), self._workloads.digest(workload)
        )

    def _note_model(self, model: Model) -> None:
        self._with_tokenizer.append(model.tokenizer is not None)

    def _note_workload(self, workload: Workload) -> None:
        self._as_text.append(workload.needs_tokenizer)
        self.workload_s.append(workload_seconds(workload))
        self.window_s.append(workload.duration)

    def _no_tokenizer(self, combination: Combination) -> SpecError:
        told = ", ".join(
            f"{p}={level.label}" for p, level in self._table.assignment(combination).items()
        )
        where = f"in the combination {told}: " if told else ""
        return SpecError(
            Problem(
                self._loaded.source.place(("workload", "prompt")),
                "workload.prompt",
                f"{where}text prompts of an exact length need model.tokenizer.",
                "Name a tokenizer's folder, or write tokenizer: words for a simulated server.",
            )
        )
