from __future__ import annotations

import pytest

from llmatrix.sim.presets import ACCELERATORS, MODELS, UnknownPreset, accelerator, model


def test_every_preset_has_a_source_and_figures_that_can_be() -> None:
    for device in ACCELERATORS:
        assert device.source.startswith("https://")
        assert 1e13 < device.flops < 1e16
        assert 1e11 < device.bandwidth < 1e13
        assert 1e10 < device.memory < 1e12
    for item in MODELS:
        assert item.source == f"https://huggingface.co/{item.name}/blob/main/config.json"
        assert item.active_parameters <= item.parameters
        assert item.heads % item.kv_heads == 0
        assert 0 <= item.expert_share < 1
        assert not item.approximated


def test_letter_case_and_organisation_may_be_left_out() -> None:
    assert accelerator("h100").name == "H100"
    assert model("qwen3-0.6b").name == "Qwen/Qwen3-0.6B"


def test_the_nearest_names_are_told() -> None:
    with pytest.raises(UnknownPreset, match="H100"):
        accelerator("H10O")
    with pytest.raises(UnknownPreset, match=r"Llama-3\.1-8B-Instruct"):
        model("meta-llama/Llama-31-Instruct")


@pytest.mark.parametrize(
    ("name", "parameters", "like"),
    [
        ("somebody/Thing-7B-Instruct", 7e9, 32),
        ("somebody/tiny-350M", 350e6, 28),
        ("somebody/Big-72b", 72e9, 80),
    ],
)
def test_a_name_that_tells_its_size_is_approximated(
    name: str, parameters: float, like: int
) -> None:
    found = model(name)

    assert found.approximated
    assert (found.name, found.parameters, found.layers) == (name, parameters, like)
    assert "shape of" in found.source


@pytest.mark.parametrize("name", ["", "nothing", "model-0B", "b7", "7Bx"])
def test_a_name_that_tells_no_size_is_unknown(name: str) -> None:
    with pytest.raises(UnknownPreset):
        model(name)
