"""What a token is here: one word of text. No model's tokenizer is involved.

The ``words`` tokenizer: every word between white space is one token, and its id is a hash of the
word. A chat message costs two tokens more (its role before it, an end mark behind it), and the
answer's role one. Answers are made of 4,096 four-letter words, which word comes when following
from the prompt alone: the same prompt has the same answer, as with greedy sampling.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable
from typing import Final

_SYLLABLES: Final = tuple(a + b for a in "bdfgklmnprstvzhj" for b in "aeio")
WORDS: Final = tuple(first + second for first in _SYLLABLES for second in _SYLLABLES)
"""The words of answers, all of the same length."""
WORD_COUNT: Final = len(WORDS)
WORD_IDS: Final = tuple(map(hash, WORDS))
_STRIDE: Final = 1579
"""Odd, so that an answer passes through all words before one returns."""
_END_OF_MESSAGE: Final = hash("<|im_end|>")


def of_text(text: str) -> array[int]:
    """Tokenize text: one token for each word."""
    return array("q", map(hash, text.split()))


def of_ids(ids: Iterable[int]) -> array[int]:
    """Take token ids as they are.

    Raises:
        TypeError, OverflowError: one of them is no integer of 64 bits.
    """
    return array("q", ids)


def of_chat(messages: Iterable[tuple[str, str]]) -> array[int]:
    """Tokenize messages (role, content), ready for the assistant's answer."""
    ids = array("q")
    for role, content in messages:
        ids.append(hash(f"<|im_start|>{role}"))
        ids.extend(map(hash, content.split()))
        ids.append(_END_OF_MESSAGE)
    ids.append(hash("<|im_start|>assistant"))
    return ids


def first_word(prompt: bytes) -> int:
    """Choose where in ``WORDS`` the answer to a prompt begins."""
    return zlib.crc32(prompt) % WORD_COUNT


def word_at(first: int, position: int) -> int:
    """Give the index in ``WORDS`` of an answer's token, positions counting from 0."""
    return (first + position * _STRIDE) % WORD_COUNT
