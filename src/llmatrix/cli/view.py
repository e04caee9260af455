"""``llmatrix view``: the report, served while a run goes on."""

from __future__ import annotations

import click

PORT = 8321


@click.command("view")
@click.argument("place", required=False, default="results", metavar="[DIR]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to serve on; 0 takes any free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on; any but a loopback address lets others read the report.",
)
def command(place: str, port: int, host: str) -> None:
    """Serve the report of an experiment, refreshed as records arrive; Ctrl-C ends it.

    DIR is an experiment's folder or URL, such as results/quickstart or s3://bucket/quickstart, or
    a store with one experiment; default: results/. Run it beside `llmatrix run`.
    """
    # The libraries of the report take a second to load; --help must not wait for them.
    from llmatrix.report.live import LivePage, LiveServer, is_loopback  # noqa: PLC0415
    from llmatrix.results.places import find_experiment  # noqa: PLC0415

    store, experiment = find_experiment(place, command="llmatrix view")
    with LiveServer(LivePage(store, experiment), host, port) as server:
        click.echo(f"{server.url} shows {experiment}; Ctrl-C ends it")
        if not is_loopback(host):
            click.echo(f"warning: whoever reaches {host} can read the report", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended", err=True)
