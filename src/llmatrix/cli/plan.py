"""``llmatrix plan``: what would be run, in which order, at what cost; nothing is started."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from llmatrix.cli.options import experiment_options, strict_option
from llmatrix.cli.preflight import check
from llmatrix.cli.prepare import prepare
from llmatrix.cli.wording import counted, duration, left_out
from llmatrix.plan.build import Plan
from llmatrix.plan.step import STACK_STEPS
from llmatrix.plan.trial import Trial

_SHOWN: Final = 40


@click.command
@experiment_options
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
@click.option("--all", "all_trials", is_flag=True, help="List every trial, not the first 40.")
@click.option(
    "--render",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write every manifest of every distinct deployment, a folder each.",
)
@click.option(
    "--update-lock",
    "renew_lock",
    is_flag=True,
    help="Take the digests of charts anew into llmatrix.lock.",
)
def command(
    file: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    *,
    strict: bool,
    as_json: bool,
    all_trials: bool,
    folder: Path | None,
    renew_lock: bool,
) -> None:
    """Show treatments, deployments, order and cost; start nothing."""
    plan = prepare(file, overrides, only, strict=strict, renew_lock=renew_lock).plan
    check(plan)
    if folder is not None:
        _render(plan, folder)
    if as_json:
        _print_json(plan)
    else:
        _print_tables(plan, len(plan) if all_trials else _SHOWN)


def _render(plan: Plan, folder: Path) -> None:
    from llmatrix.cli import manifest_files  # noqa: PLC0415 - only this option needs it

    number = manifest_files.write(plan, folder)
    click.echo(f"wrote the manifests of {counted(number, 'deployment')} to {folder}", err=True)


def _print_tables(plan: Plan, shown: int) -> None:
    from rich.console import Console  # noqa: PLC0415 - 50 ms that --json does not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for line in summary(plan):
        console.print(line, highlight=False, markup=False)
    table = Table(title="Order of trials", title_justify="left", header_style="bold")
    for heading in ("lane", "#", *(path.split(".", 1)[1] for path in plan.paths), "replicate"):
        table.add_column(heading)
    for lane, position, trial in islice(_ordered(plan), shown):
        # A label is the user's text, not rich's markup.
        levels = (Text(trial.levels.get(path, "")) for path in plan.paths)
        table.add_row(str(lane), str(position), *levels, trial.replicate.name)
    console.print(table)
    if len(plan) > shown:
        console.print(f"… and {len(plan) - shown:,} more; --all lists them, --json too.")


def summary(plan: Plan) -> list[str]:
    """Tell the plan in a few lines."""
    estimate = plan.estimate
    transitions = ", ".join(
        f"{step} {estimate.transitions[step]:,}"
        for step in STACK_STEPS
        if step in estimate.transitions
    )
    replicates = plan.replicates.deployments * plan.replicates.workloads
    controls = f" + {counted(plan.controls, 'control trial')}" if plan.controls else ""
    lines = [
        f"{plan.experiment.name}: {counted(plan.treatments, 'treatment')} × "
        f"{counted(replicates, 'replicate')}{controls} = "
        f"{counted(len(plan), 'trial')} in {counted(len(plan.lanes), 'lane')}",
        f"deployments: {estimate.deployments:,}; applied steps: {transitions or 'none'}",
        f"time: about {duration(estimate.seconds)}; "
        f"accelerator-hours: {estimate.accelerator_hours:,.2f}",
    ]
    lines += downloads(plan)
    if estimate.cost is not None:
        lines.append(f"cost: about {estimate.cost:,.2f}")
    return [*lines, *left_out(plan)]


def downloads(plan: Plan) -> list[str]:
    """Tell what of the time is for models from the Hub, and what is not in it."""
    estimate, rate = plan.estimate, plan.experiment.run.cluster.download_rate
    lines = []
    if estimate.download_s:
        lines.append(
            f"of it for models from the Hub: about {duration(estimate.download_s)} at "
            f"{rate / 1e6:,.0f} MB/s (run.cluster.download_rate)"
        )
    if estimate.uncounted:
        lines.append(
            f"the download of {', '.join(estimate.uncounted)} is not in it: stack.model.size says "
            f"how much that is"
        )
    return lines


def _ordered(plan: Plan) -> Iterator[tuple[int, int, Trial]]:
    for index, lane in enumerate(plan.lanes):
        for position, number in enumerate(lane.numbers()):
            yield index, position, plan.trial(number)


def _print_json(plan: Plan) -> None:
    """Write the plan trial by trial, so that a million of them need no memory."""
    estimate = plan.estimate
    head: dict[str, Any] = {
        "experiment": plan.experiment.name,
        "factors": {f.path: [level.label for level in f.levels] for f in plan.loaded.factors},
        "treatments": plan.treatments,
        "replicates": plan.replicates.model_dump(),
        "controls": plan.controls,
        "trials": len(plan),
        "lanes": len(plan.lanes),
        "deployments": estimate.deployments,
        "transitions": {step.value: count for step, count in estimate.transitions.items()},
        "seconds": round(estimate.seconds, 3),
        "download_seconds": round(estimate.download_s, 3),
        "downloads_not_counted": list(estimate.uncounted),
        "accelerator_hours": round(estimate.accelerator_hours, 6),
        "cost": estimate.cost,
        "left_out": [{"levels": dict(each.levels), "why": each.why} for each in plan.left_out],
        "not_judged": plan.unjudged,
    }
    out = sys.stdout
    out.write(json.dumps(head)[:-1] + ', "order": [')
    for count, (lane, position, trial) in enumerate(_ordered(plan)):
        row = {
            "lane": lane,
            "position": position,
            "trial": trial.id,
            "levels": dict(trial.levels),
            "replicate": trial.replicate.document(),
            "keys": {step.value: key for step, key in trial.keys.items()},
        }
        out.write((",\n" if count else "\n") + json.dumps(row))
    out.write("\n]}\n")
