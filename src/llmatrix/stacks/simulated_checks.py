"""What a simulated stack would fail on, found before anything is started."""

from __future__ import annotations

from llmatrix.errors import Place, Problem, SpecError, UserError
from llmatrix.sim import latency, picker_config, presets
from llmatrix.sim.profiles import PickerConfig
from llmatrix.spec.base import FileText
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.stack_parts import SimulatedEngine
from llmatrix.spec.stacks import SimulatedStack


def check(treatment: Treatment) -> None:
    """Check engine, workload and picker configuration of a simulated treatment.

    Raises:
        UserError: unknown accelerator or model, sizes that do not fit together, or a picker that
            splits requests other than the servers do.
        SpecError: the picker configuration is wrong, at known places.
    """
    stack = treatment.stack
    if not isinstance(stack, SimulatedStack):
        raise TypeError(f"a stack of kind {stack.kind} is not simulated")
    check_engine(treatment, stack.accelerator, stack.tensor_parallel, stack.engine)
    picker = None if stack.router.config is None else _picker(stack.router.config)
    _check_split(stack, picker)


def check_engine(
    treatment: Treatment,
    accelerator: str,
    tensor_parallel: int,
    engine: SimulatedEngine,
    section: str = "stack.engine",
) -> None:
    """Hold what a simulated server is asked for against what it could serve.

    Raises:
        UserError: it could not start, or would refuse every request.
    """
    try:
        fits = latency.kv_capacity(
            presets.accelerator(accelerator),
            presets.model(treatment.model.name),
            tensor_parallel,
        )
    except (presets.UnknownPreset, latency.DoesNotFit) as error:
        raise UserError(f"stack: {error}") from error
    kv_tokens = engine.kv_cache_tokens or fits
    needed = treatment.workload.most_tokens
    for name, limit in (("max_model_len", engine.max_model_len), ("kv_cache_tokens", kv_tokens)):
        if needed > limit:
            raise UserError(
                f"workload: prompt and answer take {needed} tokens, but {section}.{name} is {limit}"
            )


def _check_split(stack: SimulatedStack, picker: PickerConfig | None) -> None:
    """Refuse servers that prefill where no prompt is sent to them, and prompts sent to none."""
    split = picker is not None and picker.splits
    name = "none" if stack.router.config is None else f"'{stack.router.config.name}'"
    if stack.prefill is not None and not split:
        raise UserError(
            f"stack.prefill: the picker's configuration is {name}, and sends no prompt to servers "
            f"that prefill; name one with a disagg-profile-handler and a decider as "
            f"stack.router.config, or leave prefill out."
        )
    if stack.prefill is None and split:
        raise UserError(
            f"stack.router.config: {name} sends prompts to servers that prefill, and there are "
            f"none; set stack.prefill: {{replicas: 1}}, or name another configuration."
        )


def _picker(config: FileText) -> PickerConfig:
    """Read a picker's configuration; SpecError for what the real picker would refuse."""
    try:
        return picker_config.load(config.text, config.name)
    except picker_config.PickerConfigError as error:
        raise SpecError(
            *(
                Problem(Place(config.name, line, column), "", message)
                for line, column, message in error.problems
            )
        ) from error
