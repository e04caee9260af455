"""Quantities as people write them: ``30s``, ``20/s``, ``24GiB``; held as SI floats or integers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

_NUMBER: Final = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN: Final = rf"{_NUMBER}\s*({'|'.join(_SECONDS)})"
_PER_SECOND: Final = {"s": 1.0, "sec": 1.0, "m": 1 / 60, "min": 1 / 60, "h": 1 / 3600}
_BYTES: Final[dict[str, int]] = {
    "": 1,
    "B": 1,
    **{f"{p}B": 1000 ** (i + 1) for i, p in enumerate("kMGT")},
    **{f"{p}iB": 1024 ** (i + 1) for i, p in enumerate("KMGT")},
    **{f"{p}i": 1024 ** (i + 1) for i, p in enumerate("KMGT")},
}


def seconds(value: Any) -> float:
    """Read a duration: ``500ms``, ``30s``, ``1m30s``, ``2h``, or a bare number of seconds.

    Raises:
        ValueError: the text is no duration; the message shows how to write one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("is not a duration; write for example 30s, 500ms or 1m30s")  # noqa: TRY004
    if not isinstance(value, str):
        return float(value)
    parts = re.findall(_SPAN, value)
    if not re.fullmatch(rf"(?:\s*{_SPAN})+\s*", value):
        raise ValueError(f"'{value}' is not a duration; write for example 30s, 500ms or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def per_second(value: Any) -> float:
    """Read a rate: ``20``, ``20/s``, ``1200/min``; in events per second.

    Raises:
        ValueError: the text is no rate; the message shows how to write one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("is not a rate; write for example 20, 20/s or 1200/min")  # noqa: TRY004
    if not isinstance(value, str):
        return float(value)
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(?:/\s*(s|sec|m|min|h))?\s*", value)
    if match is None:
        raise ValueError(f"'{value}' is not a rate; write for example 20, 20/s or 1200/min")
    return float(match[1]) * _PER_SECOND[match[2] or "s"]


def size_bytes(value: Any) -> int:
    """Read a size: ``80GB``, ``24GiB``, or a bare number of bytes.

    Raises:
        ValueError: the text is no size; the message shows how to write one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("is not a size; write for example 80GB or 24GiB")  # noqa: TRY004
    if isinstance(value, int):
        return value
    match = re.fullmatch(rf"\s*{_NUMBER}\s*([A-Za-z]*)\s*", value)
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"'{value}' is not a size; write for example 80GB or 24GiB")
    return round(float(match[1]) * _BYTES[match[2]])


def bytes_per_second(value: Any) -> float:
    """Read how fast bytes come: ``100MB/s``, ``1GiB/s``, or a bare number of bytes per second.

    Raises:
        ValueError: the text is no such rate; the message shows how to write one.
    """
    whole = re.fullmatch(r"(.*)/\s*s\s*", value) if isinstance(value, str) else None
    try:
        return float(size_bytes(whole[1] if whole else value))
    except ValueError:
        told = f"'{value}' is" if isinstance(value, str) else "is"
        raise ValueError(f"{told} not a rate of bytes; write for example 100MB/s") from None


Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=float | str)]
PositiveDuration = Annotated[Duration, Field(gt=0, allow_inf_nan=False)]
NonNegativeDuration = Annotated[Duration, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[
    float,
    BeforeValidator(per_second, json_schema_input_type=float | str),
    Field(gt=0, allow_inf_nan=False),
]
Size = Annotated[int, BeforeValidator(size_bytes, json_schema_input_type=int | str), Field(gt=0)]
ByteRate = Annotated[
    float,
    BeforeValidator(bytes_per_second, json_schema_input_type=int | str),
    Field(gt=0, allow_inf_nan=False),
]
