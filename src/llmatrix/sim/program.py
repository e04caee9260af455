"""The command line of the simulator: ``serve``, ``route``, ``presets``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    import asyncio

    from llmatrix.sim.faults import Fault
    from llmatrix.sim.profiles import PickerConfig
    from llmatrix.sim.server import Settings

_LIMITS: Final = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "enable_prefix_caching",
)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Simulated model servers and router: no model, no accelerator, latencies from a model."""


def _picker(value: str) -> PickerConfig:
    """Read ``--config``: a file, or ``none`` for a random choice."""
    from llmatrix.sim import picker_config, profiles  # noqa: PLC0415 - `--help` needs no YAML

    if value == "none":
        return profiles.RANDOM
    try:
        return picker_config.load(Path(value).read_text(encoding="utf-8"), value)
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{value} cannot be read: {error}") from None
    except picker_config.PickerConfigError as error:
        raise click.UsageError(str(error)) from None


@command.command()
@click.option("--model", required=True, help="Name of the served model; sets its size.")
@click.option("--accelerator", default="H100", show_default=True, help="One that `presets` lists.")
@click.option(
    "--tensor-parallel-size",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Accelerators that share one replica.",
)
@click.option(
    "--replicas", type=click.IntRange(1, 256), default=1, show_default=True, help="Model servers."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the first replica, the others follow; 0 takes free ones.",
)
@click.option("--announce", type=_FILE, help="File to write when every replica is ready.")
@click.option(
    "--max-num-seqs",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Most sequences in one batch.",
)
@click.option(
    "--max-num-batched-tokens",
    type=click.IntRange(1),
    default=8192,
    show_default=True,
    help="Most tokens, prefill and decode, in one step.",
)
@click.option(
    "--block-size",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Tokens in one KV-cache block.",
)
@click.option(
    "--kv-cache-tokens",
    type=click.IntRange(1),
    help="Tokens that a replica's KV cache holds; default: what the accelerator leaves.",
)
@click.option(
    "--max-model-len",
    type=click.IntRange(2),
    default=32768,
    show_default=True,
    help="Most tokens of a prompt and its answer together.",
)
@click.option(
    "--enable-prefix-caching/--no-enable-prefix-caching",
    default=True,
    help="Keep and reuse the blocks of prefixes already seen; on by default.",
)
@click.option(
    "--startup-seconds",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Seconds until a replica is ready, standing for loading weights.",
)
@click.option(
    "--jitter",
    type=click.FloatRange(0, 2),
    default=0.0,
    show_default=True,
    help="How much steps vary: the standard deviation of the logarithm of their durations.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the jitter.")
@click.option(
    "--first-replica",
    metavar="NUMBER",
    callback=lambda _context, _option, value: None if value is None else _ordinal(value),
    help="The first replica's number, where others run elsewhere; or a name that ends with one, "
    "as a StatefulSet's pods have. Default: 0, and there are no others.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="TEXT",
    help="'slow replica=1 factor=3', 'stall at=10 for=5' or 'crash at=30 for=10'; repeatable. "
    "Seconds since all were ready.",
)
@click.option(
    "--faults-when-told",
    is_flag=True,
    help="Count the faults' seconds from each POST /faults, and none before the first.",
)
@click.option(
    "--role",
    type=click.Choice(["prefill", "decode"]),
    help="What these replicas do, as their label llm-d.ai/role says; default: both.",
)
@click.option(
    "--prefill-replicas",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="So many of the replicas prefill only, the others decode.",
)
@click.option(
    "--kv-transfer-bandwidth",
    type=click.FloatRange(0, min_open=True),
    help="GB/s with which a replica fetches KV entries from another; default: 50 an accelerator.",
)
@click.option("--router-config", help="Also route: an EndpointPickerConfig file, or 'none'.")
def serve(**options: Any) -> None:
    """Serve replicas of a simulated model in one process.

    They answer OpenAI's completions and chat API, streaming and not. One word of text is one token;
    prompts of token ids are taken as they are. Answers always have all the tokens asked for.
    """
    from llmatrix.sim import latency, listening, presets, server  # noqa: PLC0415

    router = options.pop("router_config")
    picker = None if router is None else _picker(router)
    settings = _settings(options)
    listening.log_to_stdout()
    listening.end_as_first_process()
    try:
        engines = server.make_engines(settings)
    except (presets.UnknownPreset, latency.DoesNotFit, server.BadSetting) as error:
        raise click.UsageError(str(error)) from None
    if settings.announce is not None:
        settings.announce.unlink(missing_ok=True)  # of an earlier run: nobody shall believe it
    try:
        listening.run(lambda stop: server.serve(settings, engines, picker, stop))
    except OSError as error:
        raise click.ClickException(f"cannot listen at {settings.host}: {error}") from None


def _ordinal(value: str) -> int:
    """Read a number, or the one at the end of a name."""
    found = re.search(r"(?:^|-)(\d{1,9})$", value)
    if found is None:
        raise click.BadParameter(f"'{value}' neither is nor ends with a number, as 'server-2' does")
    return int(found[1])


def _settings(options: dict[str, Any]) -> Settings:
    """Hold the options of ``serve`` against each other."""
    from llmatrix.sim import scheduler, server  # noqa: PLC0415

    if options["port"] and options["port"] + options["replicas"] > 65535:  # noqa: PLR2004
        raise click.UsageError("the ports after --port do not go far enough for all replicas")
    if options["prefill_replicas"] and options["role"]:
        raise click.UsageError("--prefill-replicas tells the roles already; leave --role out")
    if options["prefill_replicas"] >= options["replicas"]:
        raise click.UsageError("--prefill-replicas must leave at least one replica that decodes")
    if options["kv_transfer_bandwidth"] is not None:
        options["kv_transfer_bandwidth"] *= 1e9
    limits = [options.pop(name) for name in _LIMITS]
    return server.Settings(
        limits=scheduler.Limits(*limits),
        faults=_faults(options),
        first_replica=options.pop("first_replica") or 0,
        role=options.pop("role") or "",
        tensor_parallel=options.pop("tensor_parallel_size"),
        **options,
    )


def _faults(options: dict[str, Any]) -> tuple[Fault, ...]:
    """Read ``--fault``; where others have the first numbers, nobody knows how many there are."""
    from llmatrix.sim import faults  # noqa: PLC0415

    replicas = options["replicas"] if options["first_replica"] is None else None
    try:
        return tuple(faults.parse(text, replicas) for text in options.pop("faults"))
    except faults.BadFault as error:
        raise click.UsageError(f"--fault {error}") from None


@command.command()
@click.option("--config", required=True, help="An EndpointPickerConfig file, or 'none'.")
@click.option(
    "--servers-file",
    type=_FILE,
    help="What `serve --announce` writes; without it, POST /servers names the replicas.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--announce", type=_FILE, help="File to write when the router is ready.")
def route(
    config: str, servers_file: Path | None, host: str, port: int, announce: Path | None
) -> None:
    """Route requests to the replicas that a file names, following its changes.

    Without a file they are those that `POST /servers` named last, as JSON:
    {"servers": ["http://10.1.2.3:8000"]}. `GET /servers` tells them.
    """
    from llmatrix.sim import listening, routing  # noqa: PLC0415

    picker = _picker(config)

    async def run(stop: asyncio.Event) -> None:
        await routing.route(
            picker,
            servers_file=servers_file,
            host=host,
            port=port,
            announce_file=announce,
            stop=stop,
        )

    listening.log_to_stdout()
    listening.end_as_first_process()
    if announce is not None:
        announce.unlink(missing_ok=True)  # of an earlier run: nobody shall believe it
    try:
        listening.run(run)
    except OSError as error:
        raise click.ClickException(f"cannot listen at {host}: {error}") from None


@command.command()
def presets() -> None:
    """List accelerators and models that can be simulated, with their sources."""
    from llmatrix.sim.presets import ACCELERATORS, MODELS  # noqa: PLC0415

    for item in ACCELERATORS:
        figures = f"{item.flops / 1e12:7.0f} TFLOP/s {item.bandwidth / 1e12:5.2f} TB/s"
        click.echo(f"{item.name:36}{figures} {item.memory / 2**30:6.1f} GiB  {item.source}")
    for model in MODELS:
        figures = f"{model.parameters / 1e9:7.2f} B, {model.active_parameters / 1e9:.2f} B active"
        kv = f"{model.kv_bytes_per_token / 1024:5.0f} KiB KV/token"
        click.echo(f"{model.name:36}{figures} {kv}  {model.source}")
