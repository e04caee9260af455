"""From a command template to the exact arguments and environment of a server. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from llmatrix.errors import UserError
from llmatrix.spec.stack_parts import ENV_NAME
from llmatrix.spec.stacks import ProcessStack

PLACEHOLDERS: Final = ("port", "host", "model")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFERENCE: Final = re.compile(rf"\$({ENV_NAME.strip('^$')})")


def arguments(stack: ProcessStack, values: Mapping[str, str]) -> list[str]:
    """Fill in ``values`` (of every placeholder) and append the options of ``stack.args``.

    An option of one letter gets one dash, a longer one two; true is a bare flag, false is left
    out. Braces that hold anything but a single name (JSON, say) stay as they are.

    Raises:
        UserError: a placeholder is unknown, ``{port}`` is missing, or an option has no valid name.
    """
    template = [*stack.command, *_options(stack)]
    names = {name for part in template for name in _PLACEHOLDER.findall(part)}
    for name in sorted(names - set(PLACEHOLDERS)):
        near = get_close_matches(name, PLACEHOLDERS, n=1)
        hint = f"; did you mean {{{near[0]}}}?" if near else ""
        known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
        raise UserError(f"stack.command: {{{name}}} is not one of {known}{hint}")
    if "port" not in names:
        raise UserError(
            "stack.command: {port} is missing; llmatrix chooses a free port and must tell the "
            "server, for example: --port {port}"
        )
    return [_PLACEHOLDER.sub(lambda match: values[match[1]], part) for part in template]


def environment(stack: ProcessStack, ours: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that the server gets beside ours; ``$NAME`` is taken from ``ours``.

    Raises:
        UserError: a variable that is referred to is not set.
    """
    found: dict[str, str] = {}
    for name, value in stack.env.items():
        reference = _REFERENCE.fullmatch(value)
        if reference is None:
            found[name] = value
        elif reference[1] in ours:
            found[name] = ours[reference[1]]
        else:
            raise UserError(
                f"stack.env.{name} refers to the environment variable {reference[1]}, "
                f"which is not set; set it with: export {reference[1]}=…"
            )
    return found


def _options(stack: ProcessStack) -> list[str]:
    options: list[str] = []
    for name, value in stack.args.items():
        if not _OPTION.fullmatch(name):
            raise UserError(
                f"stack.args: '{name}' is not the name of an option; "
                "write it without dashes in front, for example: max-num-seqs"
            )
        option = f"-{name}" if len(name) == 1 else f"--{name}"
        if value is True:
            options.append(option)
        elif value is not False:
            options += [option, str(value)]
    return options
