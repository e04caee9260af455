from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.spec.scalars import Scalar, plain_key, plain_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.5e-3", -0.0015),
        ("2026-11-05", "2026-11-05"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("30s", "30s"),
        ("nope", "nope"),
        ("1" * 500, "1" * 500),
    ],
)
def test_a_word_means_what_yaml_1_2_says(text: str, value: Scalar) -> None:
    read = plain_scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no", "some YAML readers take 'no' for false; write false, or 'no' in quotes"),
        ("ON", "some YAML readers take 'ON' for true; write true, or 'ON' in quotes"),
        ("y", "some YAML readers take 'y' for true; write true, or 'y' in quotes"),
        ("010", "some YAML readers take 010 for an octal number; write 10, or '010' in quotes"),
        ("-007", "some YAML readers take -007 for an octal number; write -7, or '-007' in quotes"),
        ("00", "some YAML readers take 00 for an octal number; write 0, or '00' in quotes"),
        (".inf", ".inf is no number to measure with; put it in quotes if it is text"),
        (".NaN", ".NaN is no number to measure with; put it in quotes if it is text"),
        ("1e999", "the number 1e999 is too large; put it in quotes if it is text"),
        (
            "9223372036854775808",
            "the number 9223372036854775808 is too large; put it in quotes if it is text",
        ),
    ],
)
def test_a_word_on_which_readers_disagree_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        plain_scalar(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["<<", "", "on", "true", "null", "No"])
def test_a_key_that_is_no_plain_word_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        plain_key(text)


def test_a_number_as_key_is_text() -> None:
    assert plain_key("8080") == "8080"


@given(st.text(alphabet="0123456789+-.eExXoOyYnNtTrRuUfFaAlLsSiI_:~", max_size=8))
def test_numbers_and_booleans_never_differ_from_a_yaml_1_1_reader(text: str) -> None:
    """What both take for a number or a boolean, both take for the same one."""
    try:
        ours = plain_scalar(text)
        theirs = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, OverflowError):
        return
    if isinstance(ours, (bool, int, float)) and isinstance(theirs, (bool, int, float)):
        assert ours == theirs
