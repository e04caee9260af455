"""``llmatrix lane``: what the Tasks that llmatrix makes run besides the steps of a trial."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click

from llmatrix.cli.step import stopped_by_signal


@click.group
def command() -> None:
    """End a lane, or hand out its records: what the pods of a run do, not people."""


@command.command()
@click.option("--orders", required=True, help="The lane's orders, as a document that travels.")
@click.option("--run", "pipeline_run", required=True, help="PipelineRun whose end this is.")
@click.option("--next", "following", default="", help="PipelineRun with the lane's next trials.")
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), required=True, help="For files."
)
def finish(orders: str, pipeline_run: str, following: str, work: Path) -> int:
    """Run what went missing, then let the lane's next part begin, or take its site down."""
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - each verb imports what it needs
    from llmatrix.engines.tekton.lane import Lane  # noqa: PLC0415
    from llmatrix.steps.lane_orders import LaneOrders  # noqa: PLC0415

    with stopped_by_signal() as stop, Cluster.connect() as cluster:
        lane = Lane(cluster, LaneOrders.decoded(orders), pipeline_run, following, work)
        return lane.finish(stop)


@command.command("serve-results")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the records.",
)
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--host", default="0.0.0.0", show_default=True)  # noqa: S104 - a pod's own address
def serve_results(folder: Path, port: int, host: str) -> None:
    """Hand out the records of a folder by HTTP to whoever knows LLMATRIX_RESULTS_TOKEN."""
    from llmatrix.results.folder import FolderStore  # noqa: PLC0415
    from llmatrix.results.serving import RecordsServer  # noqa: PLC0415

    token = os.environ.get("LLMATRIX_RESULTS_TOKEN", "")
    if len(token) < 16:  # noqa: PLR2004 - as few as cannot be guessed
        raise click.UsageError("LLMATRIX_RESULTS_TOKEN must hold at least 16 characters")
    with (
        stopped_by_signal() as stop,
        RecordsServer((host, port), FolderStore(folder), token) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stop.wait()
        server.shutdown()
