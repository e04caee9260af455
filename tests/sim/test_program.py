from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmatrix.cli import sim
from llmatrix.sim import program
from llmatrix.sim.presets import ACCELERATORS, MODELS


def test_llmatrix_sim_is_the_same_program() -> None:
    assert sim.command is program.command
    assert set(program.command.commands) == {"serve", "route", "presets"}


def test_help_loads_nothing_heavy() -> None:
    script = "import sys, llmatrix.cli.sim; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20
    ).stdout.split()

    assert "llmatrix.sim.program" in loaded
    assert not {"asyncio", "uvloop", "httptools", "yaml", "orjson"} & set(loaded)


def test_presets_are_listed_with_their_sources() -> None:
    result = CliRunner().invoke(program.command, ["presets"])

    assert result.exit_code == 0
    for device in ACCELERATORS:
        assert f"{device.name} " in result.output
        assert device.source in result.output
    for model in MODELS:
        assert f"{model.name} " in result.output
        assert model.source in result.output


def test_a_wrong_picker_config_ends_with_each_place(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("kind: EndpointPickerConfig\nplugins:\n- type: queue\n")
    result = CliRunner().invoke(
        program.command, ["route", "--config", str(file), "--servers-file", "s.json"]
    )

    assert result.exit_code == 2
    assert f"{file}:1:1: apiVersion is missing" in result.output
    assert f"{file}:3:9: plugin type 'queue' is unknown" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nobody"], "no preset for model"),
        (["--model", "Qwen/Qwen3-8B", "--accelerator", "H1"], "no preset for accelerator"),
        (["--model", "meta-llama/Llama-3.3-70B-Instruct"], "at least 2"),
        (["--model", "Qwen/Qwen3-8B", "--kv-cache-tokens", "20"], "less than two blocks"),
        (["--model", "Qwen/Qwen3-8B", "--router-config", "/none"], "cannot be read"),
        (["--model", "Qwen/Qwen3-8B", "--port", "65535", "--replicas", "2"], "--port"),
    ],
)
def test_settings_that_cannot_work_end_with_a_sentence(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(program.command, ["serve", *arguments])

    assert result.exit_code == 2
    assert message in result.output
