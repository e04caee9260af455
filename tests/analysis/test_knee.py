from __future__ import annotations

from llmatrix.analysis.knee import knee
from llmatrix.analysis.pareto import Pairs


def mm1(loads: list[float], *, noise: float = 0.0) -> dict[float, Pairs]:
    """Give the M/M/1 queue of service rate 1: throughput is the load, delay 1 / (1 - load)."""
    return {
        load: {unit: (load, 1 / (1 - load) * (1 + noise * (unit - 1))) for unit in range(3)}
        for load in loads
    }


def test_the_mm1_queue_has_its_knee_at_one_half() -> None:
    # Kleinrock (1979): power is greatest where the queue holds one customer on average, at 0.5.
    found = knee(mm1([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]))
    assert found is not None
    assert (found.load, found.throughput, found.latency) == (0.5, 0.5, 2.0)
    assert (found.share, found.at_edge) == (1.0, False)


def test_noise_makes_it_less_sure() -> None:
    loads = [0.3, 0.45, 0.5, 0.55, 0.8]
    noisy: dict[float, Pairs] = {
        load: {
            (load, u): (load, v[1] * f) for (u, v), f in zip(p.items(), (0.9, 1, 1.1), strict=True)
        }
        for load, p in mm1(loads).items()
    }
    found = knee(noisy)
    assert found is not None
    assert found.share is not None
    assert 0.2 < found.share < 0.9


def test_a_knee_at_the_edge_says_so() -> None:
    found = knee(mm1([0.1, 0.2, 0.3]))
    assert found is not None
    assert (found.load, found.at_edge) == (0.3, True)


def test_too_few_loads_make_no_curve_and_single_replicates_no_share() -> None:
    assert knee(mm1([0.1, 0.2])) is None
    assert knee({1.0: {}, 2.0: {}, 3.0: {}}) is None
    single: dict[float, Pairs] = {load: {0: (load, 1 / (1 - load))} for load in (0.2, 0.5, 0.8)}
    found = knee(single)
    assert found is not None
    assert (found.load, found.share) == (0.5, None)
