"""Prompts of exactly the asked length, every one a function of the seed and its number.

Tokens are drawn uniformly from ``[vocab/32, vocab)``: tokenizers keep their special tokens (end of
text, padding, roles) at the low end, and a special token in a prompt changes what a server does.
The draw is counter-based (SHAKE-128 of seed and name), so a prompt can be made on its own, in any
order, and no two requests, prefixes or replicates begin alike but by chance (one in ``vocab**16``
for a block of 16; a cache of prefixes that does not hit there never does). Beyond the first 16
tokens, for speed, runs of 4 are drawn, of which each seed has 4,096. Writing 1,000 tokens takes
about 35 microseconds (``benchmarks/loadgen/prompts.py``).

``shared-prefix``: the group of a request is balanced random: each block of ``groups`` successive
requests holds every group once, in an order shuffled by the seed. Nothing else warms the caches:
the warm-up is the same traffic, so a warm-up of at least ``groups`` requests touches every prefix
once, and which replica then holds it is the router's doing, which is what is measured.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llmatrix.harness.native.forms import Form, Prompt
from llmatrix.harness.native.schedule import group_order

_SINGLE: Final = 16
_RUN: Final = 4
_RUNS: Final = 4096


def draw(seed: int, name: tuple[object, ...], tokens: int) -> array[int]:
    """Draw ``tokens`` uniform 32-bit numbers from the stream called ``name``."""
    numbers = array("I")
    numbers.frombytes(hashlib.shake_128(repr((seed, *name)).encode()).digest(4 * tokens))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that prompts are made of, each already written as it stands in the body.

    Attributes:
        pieces: one token each; joined by ``between`` they count as as many tokens.
        between: what stands between two tokens.
        before: what stands before the first token.
        extra: tokens that the server's tokenizer adds to every prompt (begin of text).
    """

    pieces: Sequence[bytes]
    between: bytes
    before: bytes = b""
    extra: int = 0
    _runs: dict[int, list[bytes]] = field(default_factory=dict, compare=False, repr=False)

    def written(self, seed: int, name: tuple[object, ...], tokens: int) -> bytes:
        """Write ``tokens`` random tokens from the stream called ``name``."""
        pieces, span = self.pieces, len(self.pieces)
        whole = max(0, tokens - _SINGLE) // _RUN
        single = tokens - whole * _RUN
        numbers = draw(seed, name, single + whole)
        parts = [pieces[n % span] for n in numbers[:single]]
        if whole:
            runs = self._runs.get(seed) or self._make_runs(seed)
            parts += [runs[n % _RUNS] for n in numbers[single:]]
        return self.between.join(parts)

    def _make_runs(self, seed: int) -> list[bytes]:
        span = len(self.pieces)
        tokens = [self.pieces[n % span] for n in draw(seed, ("runs",), _RUN * _RUNS)]
        made = [self.between.join(tokens[at : at + _RUN]) for at in range(0, len(tokens), _RUN)]
        self._runs[seed] = made
        return made


def _range(vocab_size: int) -> range:
    return range(vocab_size // 32, vocab_size)


def token_ids(vocab_size: int) -> Vocabulary:
    """Give the vocabulary of prompts that travel as lists of token ids."""
    return Vocabulary([b"%d" % token for token in _range(vocab_size)], b",")


def words(vocab_size: int) -> Vocabulary:
    """Give the vocabulary of text in which one word, between spaces, is one token."""
    return Vocabulary([b"w%d" % token for token in _range(vocab_size)], b" ")


class Prompts:
    """The prompts of a workload of random tokens, by the number of the request.

    Raises:
        ValueError: the tokenizer adds more tokens to every prompt than its first part has.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        form: Form,
        *,
        seed: int,
        question_len: int,
        output_len: int,
        prefix_len: int = 0,
        groups: int = 0,
    ) -> None:
        self._vocabulary = vocabulary
        self._form = form
        self._seed = seed
        self._groups = groups
        self._prompt_len = prefix_len + question_len
        self._output_len = output_len
        self._stock: dict[int, bytes] = {}
        self._block = -1
        self._order: list[int] = []
        first = question_len if not groups else prefix_len
        if first <= vocabulary.extra:
            raise ValueError(
                f"the tokenizer adds {vocabulary.extra} tokens to every prompt; "
                f"its first part must be longer than {first}"
            )
        self._question_tokens = question_len - (0 if groups else vocabulary.extra)
        self.prefixes = [
            vocabulary.before
            + vocabulary.written(seed, ("prefix", group), prefix_len - vocabulary.extra)
            + vocabulary.between
            for group in range(groups)
        ]

    def group(self, number: int) -> int | None:
        """Tell which group the request with this number belongs to."""
        if not self._groups:
            return None
        block, place = divmod(number, self._groups)
        if block != self._block:
            self._block, self._order = block, group_order(self._groups, self._seed, block)
        return self._order[place]

    def prompt(self, number: int) -> Prompt:
        """Make the prompt of a request."""
        question = self._stock.pop(number, None) or self.question(number)
        group = self.group(number)
        pieces = [self._form.before, question, self._form.after]
        if group is not None:
            pieces.insert(1, self.prefixes[group])
        return Prompt(pieces, self._prompt_len, self._output_len, group)

    def stock(self, number: int) -> int:
        """Make a question ahead."""
        made = self._stock[number] = self.question(number)
        return len(made)

    def question(self, number: int) -> bytes:
        """Write what follows the shared prefix; the whole prompt where nothing is shared."""
        text = self._vocabulary.written(self._seed, ("question", number), self._question_tokens)
        return text if self._groups else self._vocabulary.before + text
