from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim import latency
from llmatrix.sim.latency import DoesNotFit, Load, kv_capacity, step_time
from llmatrix.sim.presets import accelerator, model

H100, QWEN = accelerator("H100"), model("Qwen/Qwen3-8B")
COUNTS = st.integers(1, 100_000)


def test_decoding_alone_takes_as_long_as_reading_weights_and_context() -> None:
    weights = 8.19e9 * 2 / (3350e9 * 0.9)
    entries = 1000 * 2 * 36 * 8 * 128 * 2 / (3350e9 * 0.4)
    overhead = latency.STEP_OVERHEAD_S + latency.SEQUENCE_OVERHEAD_S
    expected = weights + entries + overhead

    assert step_time(H100, QWEN, 1)(Load(1, 1000, 1000, 1)) == pytest.approx(expected)


def test_a_large_prefill_takes_as_long_as_its_arithmetic() -> None:
    tokens = 8192
    attended = tokens * (tokens + 1) // 2
    work = 2 * 8.19e9 * tokens + 4 * 36 * 32 * 128 * attended
    expected = work / (989.4e12 * 0.38) + latency.STEP_OVERHEAD_S + latency.SEQUENCE_OVERHEAD_S

    assert step_time(H100, QWEN, 1)(Load(tokens, attended, tokens, 1)) == pytest.approx(expected)


@given(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), st.tuples(*[st.integers(0, 1000)] * 4))
def test_more_of_anything_never_takes_less(base: tuple[int, ...], more: tuple[int, ...]) -> None:
    for name in ("Qwen/Qwen3-8B", "openai/gpt-oss-20b"):
        times = step_time(H100, model(name), 1)
        grown = Load(*(a + b for a, b in zip(base, more, strict=True)))
        assert times(grown) >= times(Load(*base))


def test_a_faster_accelerator_and_more_of_them_take_less() -> None:
    load = Load(64, 64_000, 64_000, 64)
    by_name = [step_time(accelerator(name), QWEN, 1)(load) for name in ("L4", "H100", "H200")]
    by_count = [step_time(H100, QWEN, count)(load) for count in (1, 2, 4, 8)]

    assert by_name == sorted(by_name, reverse=True)
    assert by_count == sorted(by_count, reverse=True)


def test_a_mixture_of_experts_reads_few_experts_for_one_token_and_nearly_all_for_many() -> None:
    mixture = model("openai/gpt-oss-20b")
    times = step_time(H100, mixture, 1)
    one, many = times(Load(1, 1, 0, 0)), times(Load(64, 64, 0, 0))
    active = mixture.active_parameters * mixture.bytes_per_parameter
    bandwidth = 3350e9 * 0.9

    assert one - times.overhead == pytest.approx(active / bandwidth)
    assert (many - times.overhead) * bandwidth == pytest.approx(mixture.weight_bytes, rel=0.01)


def test_the_cache_gets_what_the_weights_leave() -> None:
    expected = int((80 * 2**30 * 0.9 - 8.19e9 * 2) // (2 * 36 * 8 * 128 * 2))

    assert kv_capacity(H100, QWEN, 1) == expected
    assert kv_capacity(H100, QWEN, 2) > 2 * expected


def test_a_model_that_does_not_fit_is_refused_with_the_size_that_would_do() -> None:
    large = model("meta-llama/Llama-3.3-70B-Instruct")

    with pytest.raises(DoesNotFit, match="at least 2"):
        kv_capacity(H100, large, 1)
    assert kv_capacity(H100, large, 2) > 0
