"""What cannot fit is left out of the plan with its figures; what nobody can tell is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmatrix.errors import UserError
from llmatrix.plan import capacity, capacity_figures
from llmatrix.plan.build import Plan
from llmatrix.sim import latency, presets
from llmatrix.spec.experiment import Treatment

MakePlan = Callable[..., Plan]
GB = 1e9
LLMD: dict[str, Any] = {
    "kind": "llm-d",
    "gateway": {"mode": "none"},
    "server": {"image": "vllm/vllm-openai:v0.20.0"},
}


def told(server: dict[str, Any], *, model: str = "Qwen/Qwen3-32B", tokens: int = 1000,
         **stack: Any) -> str:  # fmt: skip
    """Say what does not fit of an llm-d stack."""
    described = {**LLMD, **stack, "server": {**LLMD["server"], **server}}
    load = {"kind": "random", "question_len": tokens - 1, "output_len": 1, "load": {"rate": 1}}
    treatment = Treatment.model_validate(
        {"model": {"name": model}, "stack": described, "workload": load}
    )
    judged = capacity.judged(treatment.model, treatment.stack)
    if judged.unknown:
        return f"unknown: {judged.unknown}"
    return capacity.lacking(judged.needs, treatment.workload.most_tokens)


def test_weights_are_divided_by_parallelism_and_told_with_their_figures() -> None:
    # 32.76e9 parameters of 2 bytes; 40 GiB of memory, of which vLLM takes 0.92.
    assert told({}, accelerator="A100-40G") == (
        "Qwen/Qwen3-32B on 1 × A100-40G: 65.5 GB of weights on each, and each has 39.5 GB "
        "(0.92 of 42.9 GB)"
    )
    assert told({"tensor_parallel": 2}, accelerator="A100-40G") == ""
    assert told({"pipeline_parallel": 2}, accelerator="A100-40G") == ""
    assert "65.5 GB" in told({"data_parallel": 2}, accelerator="A100-40G")


def test_the_cache_must_hold_the_longest_request_or_what_the_server_is_told() -> None:
    # 2 x 64 layers x 8 heads x 128 x 2 bytes = 256 KiB for each token; 79.0 - 65.5 GB are left.
    assert told({}, tokens=51_000) == ""
    assert "65.5 GB of weights and 13.9 GB for 53,000 tokens" in told({}, tokens=53_000)
    assert "for 65,536 tokens" in told({"args": {"max-model-len": "64K"}})
    assert "for 65,536 tokens" in told({"args": {"max_model_len": 65536}})
    assert told({"args": {"max-model-len": "auto"}}) == ""
    assert told({"args": {"max-model-len": 512}}) == (
        "prompt and answer take 1,000 tokens, and args.max-model-len is 512"
    )


@pytest.mark.parametrize(
    ("args", "fits"),
    [
        ({"gpu-memory-utilization": 0.7}, False),
        ({"gpu-memory-utilization": 0.7, "quantization": "fp8"}, True),
        ({"dtype": "float32"}, False),
        ({"max-model-len": 65536, "kv-cache-dtype": "fp8"}, True),
        ({"gpu-memory-utilization": 0.7, "cpu-offload-gb": 20}, True),
    ],
)
def test_the_engines_options_are_respected(args: dict[str, Any], fits: bool) -> None:  # noqa: FBT001
    assert (told({"args": args}) == "") is fits


def test_heads_are_held_twice_where_they_are_fewer_than_accelerators() -> None:
    def token(tensor_parallel: int) -> float:
        server = {**LLMD["server"], "tensor_parallel": tensor_parallel}
        stack = {**LLMD, "server": server}
        load = {"kind": "random", "question_len": 1, "output_len": 1, "load": {"rate": 1}}
        treatment = Treatment.model_validate(
            {"model": {"name": "Qwen/Qwen3-32B"}, "stack": stack, "workload": load}
        )
        (need,) = capacity.judged(treatment.model, treatment.stack).needs
        return need.token

    assert token(8) == token(16) == token(1) / 8


def test_experts_are_spread_over_all_sets_by_expert_parallelism() -> None:
    model, wide = "openai/gpt-oss-120b", {"data_parallel": 2}
    assert "on 2 × A100-40G" in told(wide, model=model, accelerator="A100-40G")
    spread = {**wide, "args": {"enable-expert-parallel": True}}
    assert told(spread, model=model, accelerator="A100-40G") == ""


def test_each_role_is_judged_by_its_own_shape() -> None:
    prefill = {"tensor_parallel": 2, "prefill": {"tensor_parallel": 1}}
    assert told(prefill, accelerator="A100-40G").startswith("prefill: Qwen/Qwen3-32B on 1 ×")
    prefill["prefill"] = {"tensor_parallel": 2}
    assert told(prefill, accelerator="A100-40G") == ""


def test_what_nobody_can_tell_is_not_judged() -> None:
    assert told({}, model="acme/new").startswith("unknown: no preset has the model 'acme/new'")
    # Its size is in its name, but not how it is quantized, nor its shape.
    assert told({}, model="acme/new-70B-FP8").startswith("unknown: no preset has the model")
    assert told({}, accelerator="B9000").startswith("unknown: no preset for accelerator 'B9000'")
    assert "by quantization awq" in told({"args": {"quantization": "awq"}})


def test_given_figures_stand_for_a_preset() -> None:
    shape = {
        "parameters": 70e9,
        "bytes_per_weight": 1,
        "layers": 80,
        "kv_heads": 8,
        "head_dim": 128,
    }
    assert told({"capacity": shape}, model="acme/new-70B-FP8") == ""
    assert "70.0 GB of weights" in told({"capacity": {**shape, "memory": "48GB"}}, model="acme/n")


def test_a_server_on_cpus_is_held_against_the_memory_it_asks_for() -> None:
    cpu = {"preset": "llama-cpp", "image": "llama:1", "resources": {"memory": "2Gi"}}
    files = {"source": "pvc", "claim": "models", "path": "qwen3-8b-Q4_K_M.gguf"}
    small = {**files, "path": "qwen3-0.6b-Q8_0.gguf"}
    assert _on_cpu(cpu, "Qwen/Qwen3-8B", files).startswith(
        "Qwen/Qwen3-8B in a pod that asks for 2Gi of memory: 5.0 GB of weights"
    )
    assert _on_cpu(cpu, "Qwen/Qwen3-0.6B", small) == ""
    assert "args.ctx-size is 512" in _on_cpu(
        {**cpu, "args": {"ctx-size": 512}}, "Qwen/Qwen3-0.6B", small
    )
    assert _on_cpu({**cpu, "resources": {}}, "Qwen/Qwen3-8B", files) == ""
    assert "bytes_per_weight" in _on_cpu(cpu, "Qwen/Qwen3-8B", {**files, "path": "m.gguf"})


def _on_cpu(server: dict[str, Any], name: str, files: dict[str, Any]) -> str:
    load = {"kind": "random", "question_len": 999, "output_len": 1, "load": {"rate": 1}}
    treatment = Treatment.model_validate(
        {
            "model": {"name": name},
            "stack": {**LLMD, "model": files, "server": server},
            "workload": load,
        }
    )
    judged = capacity.judged(treatment.model, treatment.stack)
    return judged.unknown or capacity.lacking(judged.needs, 1000)


@pytest.mark.parametrize(("text", "amount"), [("2Gi", 2**31), ("500M", 5e8), ("1500m", 1.5)])
def test_amounts_are_read_as_kubernetes_does(text: str, amount: float) -> None:
    assert capacity_figures.quantity(text) == pytest.approx(amount)


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "openai/gpt-oss-20b", "tiny-1B"])
@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_simulated_servers_are_judged_as_the_simulator_reckons(
    model: str, tensor_parallel: int
) -> None:
    holds = latency.kv_capacity(
        presets.accelerator("A10"), presets.model("Qwen/Qwen3-8B"), tensor_parallel
    )
    server = {"simulated": True, "image": None, "tensor_parallel": tensor_parallel}
    assert told(server, model="Qwen/Qwen3-8B", accelerator="A10", tokens=holds) == ""
    assert told(server, model="Qwen/Qwen3-8B", accelerator="A10", tokens=holds + 1) != ""
    given = {**server, "engine": {"kv_cache_tokens": 10**6}}
    assert told(given, model=model, accelerator="H100", tokens=holds + 1) == ""


def test_the_plan_leaves_out_what_cannot_fit_and_keeps_the_rest(make_plan: MakePlan) -> None:
    plan = make_plan(
        {
            "model.name": ["Qwen/Qwen3-8B", "Qwen/Qwen3-32B"],
            "stack.tensor_parallel": [1, 2, 4],
            "workload.question_len": [10, 20],
        },
        stack={"kind": "simulated", "accelerator": "A100-40G"},
    )
    assert (plan.treatments, len(plan)) == (10, 10)
    assert {trial.levels["stack.tensor_parallel"] for trial in plan} == {"1", "2", "4"}
    (one, two) = plan.left_out
    assert one.levels == {
        "model.name": "Qwen/Qwen3-32B",
        "stack.tensor_parallel": "1",
        "workload.question_len": "10",
    }
    assert one.why == two.why
    assert "65.5 GB of weights on each, and each has 38.7 GB (0.9 of 42.9 GB)" in one.why
    assert plan.unjudged == []


def test_a_plan_of_which_nothing_fits_is_refused(make_plan: MakePlan) -> None:
    with pytest.raises(UserError, match=r"stack: no treatment fits: Qwen/Qwen3-32B on 1 × A10:"):
        make_plan(model={"name": "Qwen/Qwen3-32B"}, stack={"kind": "simulated",
                  "accelerator": "A10"})  # fmt: skip


def test_left_out_treatments_do_not_move_the_ids_of_the_others(make_plan: MakePlan) -> None:
    stack = {"kind": "simulated", "accelerator": "A100-40G"}
    wide = make_plan({"model.name": ["Qwen/Qwen3-8B", "Qwen/Qwen3-32B"]}, stack=stack)
    alone = make_plan({"model.name": ["Qwen/Qwen3-8B"]}, stack=stack)
    assert {trial.id for trial in wide} == {trial.id for trial in alone}
