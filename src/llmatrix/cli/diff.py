"""``llmatrix diff``: what one level really changes, in manifests and in the workload."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from llmatrix.cli.options import experiment_options
from llmatrix.cli.prepare import prepare
from llmatrix.cli.wording import counted
from llmatrix.errors import UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.trial import Trial

Pair = tuple[Mapping[str, str], Trial, Trial]
"""The levels that both have, and the trials of either side."""
_SHOWN: Final = 4


@click.command("diff")
@experiment_options
@click.argument("a", metavar="FACTOR=LEVEL")
@click.argument("b", metavar="FACTOR=LEVEL")
def command(file: Path, overrides: tuple[str, ...], only: tuple[str, ...], a: str, b: str) -> None:
    r"""Show what changes from one level to another; nothing is started.

    Manifests of every layer, model and workload of the treatments with the first level are held
    against those with the second, all other levels alike. A change that is the same for several
    pairs is shown once.

    \b
      llmatrix diff experiment.yaml config=queue config=prefix
    """
    from llmatrix.cli.preflight import check  # noqa: PLC0415 - `--help` stays quick

    prepared = prepare(file, overrides, only)
    check(prepared.plan)
    found = _differences(prepared.plan, list(_pairs(prepared.plan, a, b)))
    for text, where in found.items():
        told = "; ".join(where[:_SHOWN]) + ("; …" if len(where) > _SHOWN else "")
        click.echo(f"# {a} → {b}" + (f", with {told}" if told else ""))
        click.echo(text or "# no difference", nl=not text)


def _pairs(plan: Plan, a: str, b: str) -> Iterator[Pair]:
    """Match treatments of both sides whose other levels are the same."""
    from llmatrix.spec.select import select  # noqa: PLC0415

    one, other = select(plan.loaded, [a]), select(plan.loaded, [b])
    chosen = one.keys() | other.keys()
    sides: list[dict[tuple[tuple[str, str], ...], Trial]] = [{}, {}]
    for trial in map(plan.trial, range(len(plan))):
        rest = tuple((p, label) for p, label in trial.levels.items() if p not in chosen)
        for side, wanted in zip(sides, (one, other), strict=True):
            if all(trial.levels.get(path) in labels for path, labels in wanted.items()):
                side.setdefault(rest, trial)
    pairs = [(dict(rest), sides[0][rest], sides[1][rest]) for rest in sides[0] if rest in sides[1]]
    if not pairs:
        raise UserError(
            f"{plan.loaded.path}: no treatment with {a} has one with {b} beside it, all other "
            f"levels alike ({counted(len(sides[0]), 'treatment')} and {len(sides[1])})."
        )
    yield from pairs


def _differences(plan: Plan, pairs: list[Pair]) -> dict[str, list[str]]:
    """Give each distinct difference, and the other levels of the pairs that have it."""
    found: dict[str, list[str]] = {}
    for rest, one, other in pairs:
        before, after = _texts(plan, one), _texts(plan, other)
        parts = [
            "".join(
                difflib.unified_diff(
                    before.get(name, "").splitlines(keepends=True),
                    after.get(name, "").splitlines(keepends=True),
                    f"a/{name}" if name in before else "/dev/null",
                    f"b/{name}" if name in after else "/dev/null",
                )
            )
            for name in dict.fromkeys([*before, *after])
        ]
        told = ", ".join(f"{path}={label}" for path, label in rest.items())
        found.setdefault("".join(parts), []).append(told)
    if len(found) == 1:  # it is the same whatever the others are
        return {text: [] for text in found}
    return found


def _texts(plan: Plan, trial: Trial) -> dict[str, str]:
    """Write what a treatment is: its manifests, or its stack where it has none, and the rest."""
    from llmatrix.cli.manifest_files import layer_texts, site_of  # noqa: PLC0415
    from llmatrix.cluster import yaml_text  # noqa: PLC0415

    treatment = trial.treatment
    document = treatment.model_dump(mode="json")
    layers = layer_texts(treatment, site_of(plan))
    shown = {} if layers else {"stack.yaml": document["stack"]}
    shown |= {f"{name}.yaml": document[name] for name in ("model", "workload")}
    return layers | {name: yaml_text.text([each]) for name, each in shown.items()}
