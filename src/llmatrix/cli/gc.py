"""``llmatrix gc``: remove what interrupted or kept runs left standing on this machine."""

from __future__ import annotations

import click

from llmatrix.errors import EnvironmentFault


@click.command
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--kept", is_flag=True, help="Also what `llmatrix run --keep` left up on purpose.")
def command(*, dry_run: bool, kept: bool) -> None:
    """Remove what interrupted or kept runs left standing.

    Sites that a living llmatrix holds are never touched, and processes are ended by recorded
    identity, never by name.
    """
    from llmatrix.stacks.local_site import sites, sweep  # noqa: PLC0415 - only this verb needs it

    found = [s for s in sites() if s.holder() is None and (kept or not s.kept)]
    left: list[str] = []
    for site in found:
        if dry_run:
            click.echo(f"would remove {site.name}")
            continue
        problems = sweep(site, kept=kept)
        left += problems
        if not problems:
            click.echo(f"removed {site.name}")
    if not found:
        click.echo("nothing is left standing")
    if left:
        raise EnvironmentFault("could not remove: " + "; ".join(left))
