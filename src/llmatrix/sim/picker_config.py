"""Reads an ``EndpointPickerConfig`` file as the real endpoint picker does.

The rules are those of the Gateway API Inference Extension v1.2.0, ``pkg/epp/config/loader``:
strict fields, names that default to types, a default profile over all plugins, a default handler
and picker. Three things are stricter here: a parameter that its plugin does not have is refused,
where the real picker silently ignores it; so is a profile handler that would have no effect; and
so is whatever the simulated router cannot do.
"""

from __future__ import annotations

from collections.abc import Iterable

from llmatrix.sim import yaml_nodes
from llmatrix.sim.picker_reader import PickerReader
from llmatrix.sim.profiles import PickerConfig
from llmatrix.sim.yaml_nodes import Problem


class PickerConfigError(ValueError):
    """A configuration that the endpoint picker, or its simulation, would refuse.

    Attributes:
        problems: line, column and message of each thing that is wrong.
    """

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__(
            "\n".join(f"{file}:{line}:{column}: {what}" for line, column, what in self.problems)
        )


def load(text: str, file: str = "EndpointPickerConfig") -> PickerConfig:
    """Read a configuration.

    Raises:
        PickerConfigError: with everything that is wrong, at its place in ``file``.
    """
    reader = PickerReader()
    try:
        root = yaml_nodes.compose(text)
    except yaml_nodes.Unreadable as error:
        raise PickerConfigError(file, [error.problem]) from None
    config = None
    if root is None:
        reader.problems.append(Problem(1, 1, "the file is empty"))
    else:
        config = reader.read(root)
    if reader.problems or config is None:
        raise PickerConfigError(file, reader.problems)
    return config
