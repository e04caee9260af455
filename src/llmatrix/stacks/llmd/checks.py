"""What a stack of kind llm-d would fail on, found before anything is started."""

from __future__ import annotations

from llmatrix.errors import UserError
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import PICKER, LlmdStack
from llmatrix.stacks import simulated_checks
from llmatrix.stacks.llmd import picker_config


def section(treatment: Treatment) -> LlmdStack:
    """Give the stack section of a treatment.

    Raises:
        TypeError: it is of another kind.
    """
    if not isinstance(treatment.stack, LlmdStack):
        raise TypeError(f"a stack of kind {treatment.stack.kind} is not llm-d")
    return treatment.stack


def check(treatment: Treatment) -> None:
    """Check what a treatment asks of its layers together.

    Raises:
        UserError: they do not go together, or a simulated server could not serve the workload.
        SpecError: the picker's configuration is wrong, at known places.
    """
    stack = section(treatment)
    if stack.gateway.mode == "none":
        if stack.router.config is not None:
            raise UserError(
                "stack.router.config: with stack.gateway.mode none no request passes a picker; "
                "set the mode to standalone, or leave the configuration out."
            )
    else:
        _check_picked(treatment, stack)
    if stack.server.prefill is not None:
        _check_split(stack)
    if stack.server.simulated:
        simulated_checks.check_engine(
            treatment,
            stack.accelerator,
            stack.server.tensor_parallel,
            stack.server.engine,
            "stack.server.engine",
        )


def _check_split(stack: LlmdStack) -> None:
    """Refuse servers that prefill where no request would ever be sent to them, or whole ones."""
    if stack.router.config is None or not picker_config.splits(stack.router.config):
        raise UserError(
            "stack.server.prefill: only a picker whose configuration has pd-profile-handler or "
            "disagg-profile-handler sends prompts to servers that prefill; name such a one as "
            "stack.router.config, or leave prefill out."
        )
    if stack.router.image == PICKER:
        raise UserError(
            "stack.router.image: GAIE's picker has no handler of prefill; name llm-d's, for "
            "example ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0."
        )


def _check_picked(treatment: Treatment, stack: LlmdStack) -> None:
    if stack.router.config is None:
        raise UserError(
            "stack.router.config: the endpoint picker needs an EndpointPickerConfig; name a file."
        )
    picker_config.check(stack.router.config, stack.router.plugins)
    if stack.router.metrics != stack.server.preset:
        raise UserError(
            f"stack.router.metrics: the picker would read the load by {stack.router.metrics}'s "
            f"names and see nothing of {stack.server.preset}; set it to {stack.server.preset}."
        )
    if treatment.workload.prompt == "token-ids":
        raise UserError(
            "workload.prompt: endpoint pickers of the GAIE family refuse prompts of token ids "
            "(400); set prompt: text, and model.tokenizer so that lengths are exact (words for "
            "simulated servers)."
        )
