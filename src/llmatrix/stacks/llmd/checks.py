"""What a stack of kind llm-d would fail on, found before anything is started."""

from __future__ import annotations

import json
import re

from llmatrix.errors import UserError
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import PICKER, LlmdStack
from llmatrix.spec.llmd_model import REPO
from llmatrix.stacks import simulated_checks
from llmatrix.stacks.llmd import brought, picker_config, router


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
        if stack.router.config is not None or stack.router.brought or stack.gateway.brought:
            what = "gateway" if stack.gateway.brought else "router"
            what += ".config" if stack.router.config is not None else ""
            raise UserError(
                f"stack.{what}: with stack.gateway.mode none no request passes a picker; "
                f"set the mode to standalone or gateway, or leave it out."
            )
    else:
        _check_picked(treatment, stack)
    _check_files(treatment, stack)
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


def _check_files(treatment: Treatment, stack: LlmdStack) -> None:
    files, name = stack.model, treatment.model.name
    if files.source == "huggingface" and files.repo is None and not re.fullmatch(REPO, name):
        raise UserError(
            f"stack.model.repo: '{name}' (model.name) is no repository of the Hub, which has "
            f"OWNER/NAME; name the one to download."
        )
    inside = files.source in {"huggingface", "pvc", "oci"}
    if inside and stack.server.preset == "llama-cpp" and files.path is None:
        raise UserError("stack.model.path: llama-cpp loads one file; name its .gguf file.")


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
    if not stack.router.brought:
        _check_preset_router(stack)
    elif stack.router.rendered is not None and stack.router.rendered.text:
        config = brought.picker_config(json.loads(stack.router.rendered.text))
        if config is not None:
            picker_config.check(config, stack.router.plugins)
    if treatment.workload.prompt == "token-ids":
        raise UserError(
            "workload.prompt: endpoint pickers of the GAIE family refuse prompts of token ids "
            "(400); set prompt: text, and model.tokenizer so that lengths are exact (words for "
            "simulated servers)."
        )


def _check_preset_router(stack: LlmdStack) -> None:
    if stack.router.config is None:
        raise UserError(
            "stack.router.config: the endpoint picker needs an EndpointPickerConfig; name a file."
        )
    picker_config.check(stack.router.config, stack.router.plugins)
    engine = router.told(stack.router)
    if engine != router.CONFIGURED and not stack.server.brought and engine != stack.server.preset:
        raise UserError(
            f"stack.router.metrics: the picker would read the load by {engine}'s names and see "
            f"nothing of {stack.server.preset}; set it to {stack.server.preset}."
        )
