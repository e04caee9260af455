"""``llmatrix tekton``: an experiment as files for kubectl and Git, instead of submitting it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click

from llmatrix.cli.options import experiment_options
from llmatrix.cli.prepare import prepare
from llmatrix.cli.wording import counted
from llmatrix.errors import EnvironmentFault, UserError
from llmatrix.plan.build import Plan
from llmatrix.spec.stacks import EndpointStack

_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@click.group(name="tekton")
def command() -> None:
    """Write an experiment as Tekton's objects, for people who apply them themselves."""


@command.command()
@experiment_options
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write to.",
)
@click.option(
    "--namespace",
    metavar="NAME",
    help="Namespace of the PipelineRuns; default: the file's, or the kubeconfig's.",
)
@click.option("--image", metavar="NAME", help="Image of the steps; default: the file's, or ours.")
@click.option(
    "--combinations",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Most in one matrix: the cluster's default-max-matrix-combinations-count.",
)
@click.option("--openshift", is_flag=True, help="Let the cluster choose users and groups.")
def render(
    file: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    *,
    folder: Path,
    namespace: str | None,
    image: str | None,
    combinations: int,
    openshift: bool,
) -> None:
    """Write roles, steps, tasks and PipelineRuns as files, and say how to apply and follow them.

    Nothing is asked of a cluster. The variable SOURCE_DATE_EPOCH sets the moment from which the
    expiry of what is made counts, so that the same files come out again.
    """
    from llmatrix.cli.preflight import preflight  # noqa: PLC0415 - `--help` stays quick
    from llmatrix.engines.tekton import rendering  # noqa: PLC0415
    from llmatrix.engines.tekton.compile import compiled  # noqa: PLC0415
    from llmatrix.engines.tekton.settings import resolved  # noqa: PLC0415
    from llmatrix.results.claim import default_image  # noqa: PLC0415

    asked = ["run.engine=tekton"]
    asked += [f"run.cluster.namespace={namespace}"] if namespace else []
    asked += [f"run.cluster.image={image}"] if image else []
    plan = prepare(file, (*overrides, *asked), only).plan
    settings = resolved(
        plan,
        namespace=plan.experiment.run.cluster.namespace or _own_namespace(),
        image=default_image(),
        combinations=combinations,
        openshift=openshift,
    )
    objects = compiled(plan, settings, now=_moment())
    preflight(plan, "tekton")
    how = [file.name, *_how(overrides, only), "-o", folder.name]
    written = rendering.files(objects, how)
    _write(folder, written)
    runs = sum(map(len, objects.pipelineruns))
    click.echo(
        f"wrote {counted(len(plan), 'trial')} as {counted(runs, 'PipelineRun')} to {folder}",
        err=True,
    )
    _warn_of_own_addresses(plan)
    for line in rendering.commands(objects, folder):
        click.echo(line)


def _how(overrides: tuple[str, ...], only: tuple[str, ...]) -> list[str]:
    pairs = [("--set", each) for each in overrides] + [("--only", each) for each in only]
    return [word for pair in pairs for word in pair]


def _moment() -> float:
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not told:
        return time.time()
    if not told.isascii() or not told.isdigit():
        raise UserError(f"SOURCE_DATE_EPOCH must be a number of seconds, not {told!r}")
    return float(told)


def _own_namespace() -> str:
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - only where nobody names one
    from llmatrix.cluster.faults import ClusterFault  # noqa: PLC0415

    try:
        with Cluster.connect() as cluster:
            return cluster.namespace
    except ClusterFault:
        raise UserError(
            "in which namespace? Say it with --namespace NAME, or write run.cluster.namespace"
        ) from None


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files; those of an earlier call that are no more among them are removed."""
    from llmatrix.engines.tekton.rendering import MADE  # noqa: PLC0415 - with the rest

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.yaml"):
            ours = old.is_file() and old.read_text(errors="replace").startswith(MADE)
            if ours and old.name not in files:
                old.unlink()
            elif not ours and old.name in files:
                raise UserError(
                    f"{old} is there and was not made by this verb; choose another folder"
                )
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        place = shlex.quote(str(error.filename or folder))
        raise EnvironmentFault(f"{place} cannot be written: {error.strerror}.") from None


def _warn_of_own_addresses(plan: Plan) -> None:
    """Say where an endpoint's address means the pod of the step itself, once it is there."""
    for treatment in plan.distinct_stacks():
        stack = treatment.stack
        if isinstance(stack, EndpointStack) and urlsplit(stack.url).hostname in _OWN_HOSTS:
            click.echo(
                f"warning: stack.url {stack.url} is each pod's own address on the cluster; write "
                f"the one by which pods reach the endpoint",
                err=True,
            )
            return
