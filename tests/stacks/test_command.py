"""From a command template to the exact arguments and environment of a server."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.errors import UserError
from llmatrix.spec.stacks import ProcessStack
from llmatrix.stacks import command

VALUES = {"port": "8123", "host": "127.0.0.1", "model": "org/m-1B"}


def stack(*parts: str, **more: Any) -> ProcessStack:
    return ProcessStack.model_validate({"kind": "process", "command": parts, **more})


def test_placeholders_are_filled_and_options_follow() -> None:
    section = stack(
        "vllm",
        "serve",
        "{model}",
        "--port={port}",
        args={"max-num-seqs": 4, "x": 0.5, "metrics": True, "quiet": False, "name": "{model}"},
    )
    assert command.arguments(section, VALUES) == [
        "vllm",
        "serve",
        "org/m-1B",
        "--port=8123",
        "--max-num-seqs",
        "4",
        "--metrics",
        "--name",
        "org/m-1B",
        "-x",
        "0.5",
    ]


def test_braces_of_json_and_shell_signs_stay_as_they_are() -> None:
    odd = '{"a": {"b": [1]}} $(x) ${HOME} ; rm -rf ~'
    with pytest.raises(UserError, match="HOME"):
        command.arguments(stack("s", "{port}", odd), VALUES)
    plain = odd.replace("${HOME}", "$HOME")
    assert command.arguments(stack("s", "{port}", plain), VALUES) == ["s", "8123", plain]


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    values = {**VALUES, "model": "{port}"}
    assert command.arguments(stack("s", "{model}", "{port}"), values) == ["s", "{port}", "8123"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (("s", "{prot}"), "{prot} is not one of {port}, {host}, {model}; did you mean {port}?"),
        (("s", "--port", "8000"), "{port} is missing"),
    ],
)
def test_templates_that_cannot_work(parts: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError) as caught:
        command.arguments(stack(*parts), VALUES)
    assert says in str(caught.value)


def test_an_option_is_written_without_its_dashes() -> None:
    with pytest.raises(UserError, match="without dashes in front"):
        command.arguments(stack("s", "{port}", args={"--parallel": 4}), VALUES)


def test_references_are_taken_from_our_environment() -> None:
    section = stack("s", "{port}", env={"TOKEN": "$SECRET", "PRICE": "5$", "PLAIN": "a $SECRET"})
    found = command.environment(section, {"SECRET": "s3cr3t"})
    assert found == {"TOKEN": "s3cr3t", "PRICE": "5$", "PLAIN": "a $SECRET"}
    with pytest.raises(UserError, match=r"stack\.env\.TOKEN .* SECRET, which is not set"):
        command.environment(section, {})
