"""The stack section: what serves the model, one model per kind.

Each kind says which step of the eight answers for which of its fields (``LAYERS``): a step's key
hashes exactly those, so a level that touches only the router's fields restarts only the router.
A step that is not in ``LAYERS`` is not the kind's own and is ``skipped``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import (
    Field,
    HttpUrl,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from llmatrix.spec.base import NamedFile, Section
from llmatrix.spec.injected import Injected
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stack_parts import ENV_NAME, IMAGE, IN_ORDER, Layer, SimulatedEngine
from llmatrix.spec.units import PositiveDuration


class Router(Section):
    """The endpoint picker in front of the replicas."""

    config: NamedFile | None = None
    """An EndpointPickerConfig file; none: requests go to a replica at random."""


class SimulatedPrefill(Section):
    """Simulated servers that prefill only."""

    replicas: Annotated[PositiveInt, Field(le=256)] = 1
    """Servers that prefill; they are not among `stack.replicas`."""


_IF_SAID: Final = Field(exclude_if=lambda value: not value)
"""A field that stands for nothing until it is written: left out, it is in no key and no id."""


class SimulatedStack(Section):
    """Simulated servers behind a simulated router: no model, no accelerator."""

    LAYERS: ClassVar[Mapping[Layer, frozenset[str]]] = {
        "namespace": frozenset(),
        "router": frozenset({"router"}),
        "server": frozenset(
            {"replicas", "accelerator", "tensor_parallel", "engine", "image"}
            | {"prefill", "jitter", "faults"}
        ),
    }

    kind: Literal["simulated"]
    replicas: Annotated[PositiveInt, Field(le=256)] = 1
    """Model servers behind the router."""
    prefill: Annotated[SimulatedPrefill | None, _IF_SAID] = None
    """Servers that prefill only; the others then decode."""
    accelerator: str = "H100"
    """Which accelerator is simulated; `llmatrix sim presets` lists them."""
    tensor_parallel: PositiveInt = 1
    """Accelerators that share one replica."""
    engine: SimulatedEngine = SimulatedEngine()
    """Knobs of each model server."""
    router: Router = Router()
    """What chooses a replica for each request."""
    image: Annotated[str, Field(pattern=IMAGE)] | None = None
    """On Kubernetes, image of the servers' pods; default: that of the steps."""
    jitter: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), _IF_SAID] = 0.0
    """How much steps vary: the standard deviation of the logarithm of their durations."""
    faults: Annotated[tuple[Injected, ...], Field(strict=False), _IF_SAID] = ()
    """What goes wrong in each trial: `[{kind: slow, replica: 1, factor: 3}]`."""

    @property
    def accelerators(self) -> int:
        """Accelerators that one deployment holds (simulated ones count like real ones)."""
        return (self.replicas + self.prefill_replicas) * self.tensor_parallel

    @property
    def prefill_replicas(self) -> int:
        """Servers that prefill only."""
        return 0 if self.prefill is None else self.prefill.replicas

    @property
    def crashes(self) -> bool:
        """Whether servers are to end while a trial runs."""
        return any(fault.kind == "crash" for fault in self.faults)

    @field_validator("faults")
    @classmethod
    def _of_replicas(
        cls, value: tuple[Injected, ...], info: ValidationInfo
    ) -> tuple[Injected, ...]:
        if not {"replicas", "prefill"} <= info.data.keys():
            return value  # what is wrong with those is said already
        prefill: SimulatedPrefill | None = info.data["prefill"]
        for number, fault in enumerate(value):
            if fault.role is None:
                count, among = info.data["replicas"], "stack.replicas"
            elif prefill is None:
                raise ValueError(f"[{number}] is of a server that prefills; set stack.prefill, too")
            else:
                count, among = prefill.replicas, "stack.prefill.replicas"
            if fault.replica >= count:
                there = f"0 to {count - 1}" if count > 1 else "0"
                raise ValueError(
                    f"[{number}].replica is {fault.replica}, and with {among} {count} it can be "
                    f"{there} only"
                )
        return value


class EndpointStack(Section):
    """An OpenAI-compatible endpoint that somebody else runs."""

    LAYERS: ClassVar[Mapping[Layer, frozenset[str]]] = {}

    kind: Literal["endpoint"]
    url: str
    """Where `/v1/models` and `/v1/completions` answer."""
    api_key_env: Annotated[str, Field(pattern=ENV_NAME)] | None = None
    """Name of the environment variable that holds the API key."""
    metrics_urls: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Prometheus endpoints of the servers behind it."""
    reset_prefix_cache: bool = False
    """Ask the endpoint to drop its prefix cache before each trial, and verify that it did."""
    accelerators: Annotated[int, Field(ge=0)] = 0
    """Accelerators behind the endpoint, for accelerator-hours and per-accelerator figures."""

    @field_validator("url", "metrics_urls")
    @classmethod
    def _http(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for url in (value,) if isinstance(value, str) else value:
            try:
                parsed = TypeAdapter(HttpUrl).validate_python(url)
            except ValidationError:
                raise ValueError(
                    f"'{url}' is not a URL; write for example http://127.0.0.1:8000"
                ) from None
            if parsed.username or parsed.password:
                raise ValueError("must not carry a password; name an api_key_env instead")
        return value.rstrip("/") if isinstance(value, str) else value


class Ready(Section):
    """When a started server counts as ready."""

    path: str = "/health"
    """Path that answers 200 once the server is ready."""
    timeout: PositiveDuration = 600.0
    """Seconds to wait for it."""


class ProcessStack(Section):
    """One real server, started from a command on this machine."""

    LAYERS: ClassVar[Mapping[Layer, frozenset[str]]] = {
        "namespace": frozenset(),
        "server": frozenset(
            {
                "command",
                "args",
                "env",
                "ready",
                "metrics_path",
                "reset_prefix_cache",
                "accelerators",
            }
        ),
    }

    kind: Literal["process"]
    command: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Program and arguments, with `{port}`, `{host}` and `{model}` filled in; no shell reads it."""
    args: Annotated[dict[str, str | int | float | bool], IN_ORDER] = {}
    """Options after the command, by name: `{parallel: 4}` becomes `--parallel 4`; true, a flag."""
    env: Annotated[dict[Annotated[str, Field(pattern=ENV_NAME)], str], IN_ORDER] = {}
    """Environment variables added to ours; a value `$NAME` is taken from ours at start."""
    ready: Ready = Ready()
    """When the server counts as ready."""
    metrics_path: str | None = "/metrics"
    """Path of the Prometheus endpoint; null where the server has none."""
    reset_prefix_cache: bool = False
    """Ask the server to drop its prefix cache before each trial, and verify that it did."""
    accelerators: Annotated[int, Field(ge=0)] = 0
    """Accelerators that the server holds."""


Stack = Annotated[
    SimulatedStack | EndpointStack | ProcessStack | LlmdStack, Field(discriminator="kind")
]
