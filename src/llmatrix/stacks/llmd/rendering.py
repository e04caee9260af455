"""Brought layers of an experiment rendered: each distinct one once, on this machine.

What does not render does not stop the planning: it is kept until the plan is made, so that every
such layer is told, and which treatments would be fine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmatrix.cluster import helm, kustomize
from llmatrix.cluster.programs import NotRendered
from llmatrix.errors import Place, Problem, SpecError
from llmatrix.plan.build import Plan
from llmatrix.plan.digest import digest
from llmatrix.plan.step import Step
from llmatrix.spec.base import MAX_FILE_BYTES
from llmatrix.spec.charts import Brought, Chart, Rendered
from llmatrix.spec.files import read_bytes
from llmatrix.spec.levels import Level
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.load import Loaded
from llmatrix.stacks.llmd import (
    brought,
    chart_lock,
    chart_source,
    layers,
    manifest_rules,
    manifest_set,
    placeholders,
)
from llmatrix.stacks.llmd.manifest_set import ManifestSet
from llmatrix.stacks.site_address import SiteAddress

_FAULTS_TOLD: Final = 5
_FINE_TOLD: Final = 8
_PRETENDED: Final = SiteAddress(
    name="site",
    namespace="site",
    own_namespace=True,
    experiment="e",
    run="r",
    lane=0,
    expires=0,
    home="home",
    account="steps",
    image="image",
)
"""A site on which a set is placed to see that it can be."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A layer that cannot be had: its path, the levels that shape it, and why."""

    path: str
    levels: Mapping[str, Level]
    why: str


@dataclass(slots=True)
class Rendering:
    """Puts what brought layers render to in their place; give it to a ``Plan`` as ``finish``.

    Attributes:
        loaded: the experiment.
        renew: take the digests of charts anew.
        notes: what the user should know of, in sentences.
    """

    loaded: Loaded
    renew: bool = False
    notes: list[str] = field(default_factory=list)
    _read: chart_lock.Lock | None = None
    _known: dict[str, Rendered] = field(default_factory=dict)
    _failed: dict[str, _Failure] = field(default_factory=dict)
    """By the hash that stands in for what does not render."""

    def __call__(self, stack: Any, levels: Mapping[str, Level]) -> Any:
        """Finish a stack that these levels have shaped."""
        if not isinstance(stack, LlmdStack):
            return stack
        for step in layers.BRINGABLE:
            if (written := layers.layer(stack, step).rendered) is not None:
                self._failed[written.sha256] = _Failure(
                    f"stack.{step}.rendered", {}, "is not for people to write; name a chart"
                )
        changed = {
            step.value: self._in_place(layers.layer(stack, step), step, levels)
            for step in layers.BRINGABLE
            if layers.layer(stack, step).way
        }
        return stack.model_copy(update=changed) if changed else stack

    def hold(self, plan: Plan) -> None:
        """Refuse a plan some of whose layers do not render; else write the lock.

        Raises:
            SpecError: with each of them at its place, and which treatments are fine.
            EnvironmentFault: the lock cannot be written.
        """
        if self._failed:
            raise SpecError(*self._problems(), self._fine(plan))
        if self._known and self._lock.write():
            self.notes.append(f"wrote {self._lock.path}; keep it with the experiment")

    @property
    def _lock(self) -> chart_lock.Lock:
        if self._read is None:
            self._read = chart_lock.read(self._folder)
        return self._read

    @property
    def _folder(self) -> Path:
        return self.loaded.path.parent

    def _in_place(self, layer: Brought, step: Step, levels: Mapping[str, Level]) -> Brought:
        key = digest(step, layer.model_dump_json())
        if key not in self._known:
            self._known[key] = self._rendered(layer, step, levels, key)
        empty: dict[str, Any] = {"chart": None, "manifests": (), "kustomize": None}
        return layer.model_copy(update={**empty, "rendered": self._known[key]})

    def _rendered(
        self, layer: Brought, step: Step, levels: Mapping[str, Level], key: str
    ) -> Rendered:
        try:
            found = self._set(layer)
            _hold(layer, step, found)
        except NotRendered as error:
            stand_in = Rendered(sha256=manifest_set.sha256(key))
            here = {p: level for p, level in levels.items() if _touch(p, f"stack.{step}")}
            path = f"stack.{step}.{layer.way}"
            self._failed[stand_in.sha256] = _Failure(path, here, str(error))
            return stand_in
        text = found.text
        self._lock.see(manifest_set.images(found.objects))
        if found.hooks:
            self.notes.append(
                f"stack.{step}: {', '.join(found.hooks)}: hooks of the chart, left out: nothing "
                f"runs them here"
            )
        return Rendered(
            sha256=manifest_set.sha256(text),
            accelerators=manifest_set.accelerators(found.objects),
            text=text,
        )

    def _set(self, layer: Brought) -> ManifestSet:
        if layer.chart is not None:
            first, again = (self._templated(layer.chart) for _ in range(2))
            found = manifest_set.read(first)
            if found.text != manifest_set.read(again).text:
                raise NotRendered(
                    "it renders differently each time; set what the chart makes at random "
                    "(a password, a certificate) by its values"
                )
            if word := placeholders.cut(found.text):
                raise NotRendered(
                    f"the chart cuts the name of its release to '{word}', and a site's own name "
                    f"cannot stand there; set the names by its values"
                )
        elif layer.kustomize is not None:
            found = manifest_set.read(self._built(layer.kustomize))
        else:
            found = manifest_set.read("\n---\n".join(map(self._file, layer.manifests)))
        if not found.objects:
            raise NotRendered("nothing comes out of it")
        return manifest_set.with_images(found, self._lock.pinned)

    def _templated(self, chart: Chart) -> str:
        place, found = (
            chart_source.fetched(
                chart, None if self.renew else self._lock.charts.get(chart_lock.named(chart))
            )
            if chart.remote
            else chart_source.of_folder(self._folder, chart.source)
        )
        if wrong := self._lock.hold(chart, found, renew=self.renew):
            raise NotRendered(wrong)
        with tempfile.TemporaryDirectory() as folder:
            values = Path(folder) / "values.json"
            values.write_text(json.dumps(chart.values), encoding="utf-8")
            for name in chart.values_files:
                self._file(name)
            try:
                return helm.template(
                    place,
                    release=placeholders.SITE,
                    namespace=placeholders.NAMESPACE,
                    values=[*(self._folder / name for name in chart.values_files), values],
                    api_versions=chart.api_versions,
                )
            except NotRendered as error:
                raise NotRendered(f"the chart does not render: {error}") from None

    def _built(self, folder: str) -> str:
        if not (self._folder / folder).is_dir():
            where = f"(seen from {self._folder.resolve()})"
            raise NotRendered(f"the folder '{folder}' is not there {where}")
        try:
            return kustomize.build(self._folder / folder)
        except NotRendered as error:
            raise NotRendered(f"the kustomization does not render: {error}") from None

    def _file(self, name: str) -> str:
        try:
            return read_bytes(self._folder / name, limit=MAX_FILE_BYTES).decode("utf-8-sig")
        except ValueError as error:
            why = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            raise NotRendered(
                f"the file '{name}' {why} (seen from {self._folder.resolve()})"
            ) from None

    def _problems(self) -> list[Problem]:
        """Say what is wrong, once where it is wrong in several combinations."""
        by_cause: dict[tuple[str, str], list[_Failure]] = {}
        for each in self._failed.values():
            by_cause.setdefault((each.path, each.why), []).append(each)
        return [self._problem(path, why, found) for (path, why), found in by_cause.items()]

    def _problem(self, path: str, why: str, found: Sequence[_Failure]) -> Problem:
        first, *others = found
        levels = {
            p: level
            for p, level in first.levels.items()
            if all(each.levels.get(p) == level for each in others)
        }
        told = ", ".join(f"{p}={level.label}" for p, level in levels.items())
        where = f"in the combination {told}: " if told else ""
        return Problem(self._place(levels, path), path, f"{where}{why.rstrip('.')}.")

    def _place(self, levels: Mapping[str, Level], path: str) -> Place:
        """Say where a layer stands: at the level that is deepest in it, or in the document."""
        if levels:
            deepest = max(levels, key=lambda p: p.count("."))
            return self.loaded.matrix.nodes[deepest, levels[deepest].label].place
        return self.loaded.source.place(tuple(path.split(".")))

    def _fine(self, plan: Plan) -> Problem:
        fine: dict[tuple[tuple[str, str], ...], bool] = {}
        for trial in plan:
            stack = trial.treatment.stack
            shas = set(_shas(stack)) if isinstance(stack, LlmdStack) else set()
            fine[tuple(trial.levels.items())] = shas.isdisjoint(self._failed)
        names = [", ".join(f"{p}={label}" for p, label in each) for each, ok in fine.items() if ok]
        message = f"{len(names)} of {len(fine)} treatments render; nothing was started"
        if names:
            message += f"; fine: {'; '.join(names[:_FINE_TOLD])}"
            message += "; …" if len(names) > _FINE_TOLD else ""
        return Problem(Place(str(self.loaded.path)), "", f"{message}.")


def _hold(layer: Brought, step: Step, found: ManifestSet) -> None:
    """Refuse a set that a site cannot have.

    Raises:
        NotRendered: with what is wrong with it.
    """
    faults = manifest_rules.faults(step, found.objects)
    if not faults:
        try:
            brought.objects(layer, found.text, step, _PRETENDED)
        except brought.NoFront as error:
            faults = [str(error)]
    if faults:
        more = len(faults) - _FAULTS_TOLD
        told = "; ".join(faults[:_FAULTS_TOLD]) + (f"; and {more} more" if more > 0 else "")
        raise NotRendered(f"it renders to what a site cannot have: {told}")


def _shas(stack: LlmdStack) -> list[str]:
    found = [layers.layer(stack, step).rendered for step in layers.BRINGABLE]
    return [each.sha256 for each in found if each is not None]


def _touch(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
