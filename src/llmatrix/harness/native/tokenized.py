"""Words of a real tokenizer of which each is exactly one token, wherever it stands in a prompt."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from llmatrix.harness.native.prompts import Vocabulary

_CANDIDATES: Final = 20_000
_FEWEST: Final = 64
_TRIAL_TOKENS: Final = 256
_TRIALS: Final = 8


class TokenizerError(Exception):
    """The tokenizer cannot be used for prompts of an exact length; the text says why."""


def tokenizer_words(folder: Path) -> Vocabulary:
    """Find words from which prompts of any exact token count can be made.

    A word qualifies if it is plain ASCII letters and adds exactly one token after another word.
    Whole prompts made of them are then encoded, and must count as asked; tokens that the
    tokenizer adds to every prompt (begin of text) are part of the count, as they are for servers.

    Raises:
        TokenizerError: no library, no such tokenizer, or no such words.
    """
    tokenizer = _load(folder)
    extra = len(tokenizer.encode("").ids)
    anchor = _first_word(tokenizer, extra)
    anchor_tokens = len(tokenizer.encode(anchor).ids)
    candidates = sorted(
        {
            word
            for token in sorted(tokenizer.get_vocab().values())[:_CANDIDATES]
            if (word := tokenizer.decode([token]).strip()).isascii() and word.isalpha()
        }
    )
    pairs = tokenizer.encode_batch([f"{anchor} {word}" for word in candidates])
    kept = [
        word
        for word, pair in zip(candidates, pairs, strict=True)
        if len(pair.ids) == anchor_tokens + 1
    ]
    starts = tokenizer.encode_batch(kept)
    kept = [w for w, start in zip(kept, starts, strict=True) if len(start.ids) == extra + 1]
    if len(kept) < _FEWEST:
        raise TokenizerError(
            f"model.tokenizer: only {len(kept)} words of {folder} are one token each; "
            f"prompts of exact length need {_FEWEST}: use workload.prompt: token-ids"
        )
    found = Vocabulary([word.encode() for word in kept], b" ", extra=extra)
    _prove(tokenizer, found, folder)
    return found


def token_counter(folder: Path) -> Callable[[Sequence[str]], list[int]]:
    """Give what counts the tokens of texts, with those that are added to every prompt.

    Raises:
        TokenizerError: no library, or no such tokenizer.
    """
    tokenizer = _load(folder)
    return lambda texts: [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts))]


def _load(folder: Path) -> Any:
    try:
        library = importlib.import_module("tokenizers")
    except ImportError:
        raise TokenizerError(
            "workload.prompt: text with a tokenizer folder needs the 'tokenizers' package; "
            "install it (pip install 'llmatrix[tokenizers]'), or use prompt: token-ids"
        ) from None
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(f"model.tokenizer: there is no tokenizer.json in {folder}")
    try:
        return library.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception
        raise TokenizerError(f"model.tokenizer: {path} is no tokenizer: {error}") from None


def _first_word(tokenizer: Any, extra: int) -> str:
    """Find any word that is one token at the start of a text."""
    for word in ("the", "a", "and", "is", "of", "in"):
        if len(tokenizer.encode(word).ids) == extra + 1:
            return word
    return "a"


def _prove(tokenizer: Any, found: Vocabulary, folder: Path) -> None:
    """Encode whole prompts; every one must have exactly the tokens that it was made of."""
    for trial in range(_TRIALS):
        prompt = found.written(trial, ("proof",), _TRIAL_TOKENS).decode()
        counted = len(tokenizer.encode(prompt).ids) - found.extra
        if counted != _TRIAL_TOKENS:
            raise TokenizerError(
                f"model.tokenizer: with {folder}, a prompt made of {_TRIAL_TOKENS} tokens counts "
                f"{counted}; use workload.prompt: token-ids: {json.dumps(prompt[:60])}"
            )
