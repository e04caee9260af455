from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.spec.units import bytes_per_second, per_second, seconds, size_bytes


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("1m30s", 90),
        ("1h 30min", 5400),
        ("0.5h", 1800),
        ("2d", 172_800),
        (12, 12),
        (1.5, 1.5),
        (" 3 s ", 3),
    ],
)
def test_durations(written: str | float, meant: float) -> None:
    assert seconds(written) == pytest.approx(meant)


@pytest.mark.parametrize("written", ["", "s", "30", "30x", "-5s", "1:30", "1s30", "٣s", "1e3s"])
def test_what_is_no_duration_is_told_how_one_is_written(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write for example 30s"):
        seconds(written)


@pytest.mark.parametrize("value", [True, None, [], {}])
def test_what_is_no_text_or_number_is_no_quantity(value: object) -> None:
    for read in (seconds, per_second, size_bytes, bytes_per_second):
        with pytest.raises(ValueError, match=r"^is not a"):
            read(value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [(20, 20), ("20", 20), ("20/s", 20), ("1200/min", 20), ("36 / h", 0.01), ("1.5/sec", 1.5)],
)
def test_rates(written: str | float, meant: float) -> None:
    assert per_second(written) == pytest.approx(meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (80, 80),
        ("80", 80),
        ("80GB", 80 * 10**9),
        ("24GiB", 24 * 2**30),
        ("24Gi", 24 * 2**30),
        ("1.5 kB", 1500),
        ("1TiB", 2**40),
    ],
)
def test_sizes(written: str | int, meant: int) -> None:
    assert size_bytes(written) == meant


@pytest.mark.parametrize("written", ["24gib", "GB", "1 KB2", "-1B", "9" * 400 + "GB"])
def test_what_is_no_size_is_told_how_one_is_written(written: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write for example 80GB or 24GiB"):
        size_bytes(written)


@pytest.mark.parametrize(
    ("written", "meant"), [(5, 5), ("100MB/s", 1e8), ("1 GiB / s", 2**30), ("80MB", 8e7)]
)
def test_rates_of_bytes(written: str | int, meant: float) -> None:
    assert bytes_per_second(written) == meant


@pytest.mark.parametrize("written", ["fast", "1Gbit/s", "100MB/min", "/s", "-1B/s"])
def test_what_is_no_rate_of_bytes_is_told_how_one_is_written(written: str) -> None:
    with pytest.raises(ValueError, match="is not a rate of bytes; write for example 100MB/s"):
        bytes_per_second(written)


@given(st.text())
def test_no_text_ends_in_anything_but_a_value_error(text: str) -> None:
    for read in (seconds, per_second, size_bytes, bytes_per_second):
        with contextlib.suppress(ValueError):
            assert read(text) >= 0


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(minutes: int, secs: int, millis: int) -> None:
    assert seconds(f"{minutes}m{secs}s{millis}ms") == pytest.approx(
        60 * minutes + secs + millis / 1000
    )
