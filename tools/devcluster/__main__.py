"""``python -m tools.devcluster``: a real Kubernetes with a real Tekton on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tools.devcluster.faults import CannotRunHere, ClusterFault
from tools.devcluster.layout import layout

CANNOT = 3
"""Exit code where this machine cannot have the cluster."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def devcluster() -> None:
    """A real Kubernetes with a real Tekton on this machine, as plain processes, for the tests."""


@devcluster.command()
def up() -> None:
    """Bring the cluster up, or mend one that stands."""
    from tools.devcluster import cluster  # noqa: PLC0415 - each verb imports what it needs

    cluster.up(layout())
    click.echo(f"export KUBECONFIG={layout().kubeconfig}")


@devcluster.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def add(names: tuple[str, ...]) -> None:
    """Bring the cluster up with more: `gateway` (picker, Envoy Gateway), `llm-d`, `llama`."""
    from tools.devcluster import extras  # noqa: PLC0415 - each verb imports what it needs

    for name in names:
        if name not in extras.NAMES:
            known = ", ".join(extras.NAMES)
            raise click.UsageError(f"nothing is called '{name}'; there are {known}")
    extras.add(layout(), *names)


@devcluster.command()
def parts() -> None:
    """Print where a client finds what the cluster has: programs, charts, images (JSON)."""
    from tools.devcluster import extras  # noqa: PLC0415 - each verb imports what it needs

    click.echo(json.dumps(extras.parts(layout()), indent=1))


@devcluster.command()
def down() -> None:
    """End the cluster; what it stored stays."""
    from tools.devcluster import cluster  # noqa: PLC0415 - each verb imports what it needs

    cluster.down(layout())


@devcluster.command()
def wipe() -> None:
    """End the cluster and remove everything but built programs and images."""
    from tools.devcluster import cluster  # noqa: PLC0415 - each verb imports what it needs

    cluster.wipe(layout())


@devcluster.command()
def status() -> None:
    """Tell what runs and whether it works; ends with 1 unless everything does."""
    from tools.devcluster import overview  # noqa: PLC0415 - each verb imports what it needs

    lines, well = overview.status(layout())
    click.echo("\n".join(lines))
    sys.exit(0 if well else 1)


@devcluster.command()
@click.argument("name", required=False)
def logs(name: str | None) -> None:
    """Print the log of a process; without a name, tell which there are."""
    folder = layout().root / "logs"
    files = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if name is None:
        click.echo("\n".join(f"{one}  {path}" for one, path in files.items()))
        return
    if name not in files:
        raise ClusterFault(f"there is no log of '{name}'; there are: {', '.join(files) or 'none'}")
    click.echo(files[name].read_bytes())


@devcluster.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
def load(archive: Path) -> None:
    """Import an archive of images (docker-archive or OCI) and name what was in it."""
    from tools.devcluster import images  # noqa: PLC0415 - each verb imports what it needs

    click.echo("\n".join(images.load(layout(), archive)))


@devcluster.command("step-image")
def step_image() -> None:
    """Build the image of llmatrix, import it, and print its name."""
    from tools.devcluster import cluster  # noqa: PLC0415 - each verb imports what it needs

    click.echo(cluster.load_step_image(layout()))


@devcluster.command()
def kubeconfig() -> None:
    """Print the path of the administrator's kubeconfig."""
    path = layout().kubeconfig
    if not path.exists():
        raise ClusterFault("there is no cluster; `up` makes one")
    click.echo(str(path))


def main() -> int:
    """Run a verb; 1 when something is wrong, 3 when this machine cannot have the cluster."""
    try:
        devcluster.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.exceptions.Abort:
        return 130
    except ClusterFault as fault:
        click.echo(f"error: {fault}", err=True)
        return CANNOT if isinstance(fault, CannotRunHere) else 1
    return 0


sys.exit(main())
