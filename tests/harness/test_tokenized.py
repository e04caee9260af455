"""Exact prompts from real tokenizers, where the ``tokenizers`` package is installed."""

from __future__ import annotations

import random
import string
import sys
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import UserError
from llmatrix.harness.native.forms import Form
from llmatrix.harness.native.prompts import Prompts
from llmatrix.harness.native.tokenized import TokenizerError, tokenizer_words
from llmatrix.harness.registry import harness
from llmatrix.spec.experiment import Treatment


def test_a_missing_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match=r"pip install 'llmatrix\[tokenizers\]'"):
        tokenizer_words(tmp_path)


def _words() -> list[str]:
    letters = random.Random(1)  # noqa: S311 - no secret
    return ["".join(letters.choices(string.ascii_lowercase, k=5)) for _ in range(400)]


def _train(kind: str, folder: Path) -> Any:
    """Make a tokenizer: byte-level with a begin-of-text token, or with SentencePiece's spaces."""
    library = pytest.importorskip("tokenizers")
    corpus = [" ".join(_words()) for _ in range(3)]
    made = library.Tokenizer(library.models.BPE(unk_token=None))
    special = ["<s>"]
    if kind == "byte-level":
        made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = library.decoders.ByteLevel()
    else:
        made.pre_tokenizer = library.pre_tokenizers.Metaspace()
        made.decoder = library.decoders.Metaspace()
    trainer = library.trainers.BpeTrainer(
        vocab_size=4000, special_tokens=special, show_progress=False, min_frequency=1
    )
    bare = [f"{word}\n" for word in _words()]
    made.train_from_iterator(corpus + bare, trainer)
    made.post_processor = library.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    made.save(str(folder / "tokenizer.json"))
    return made


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
def test_prompts_count_as_asked(tmp_path: Path, kind: str) -> None:
    tokenizer = _train(kind, tmp_path)
    found = tokenizer_words(tmp_path)
    assert found.extra == 1
    for groups in (0, 3):
        prompts = Prompts(
            found,
            Form(b"", b"", b" ", b" "),
            seed=1,
            question_len=57,
            output_len=1,
            prefix_len=200 * (groups > 0),
            groups=groups,
        )
        for number in range(20):
            text = b"".join(prompts.prompt(number).pieces).decode()
            assert len(tokenizer.encode(text).ids) == 57 + 200 * (groups > 0)


def test_a_folder_without_tokenizer_is_told(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        tokenizer_words(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="is no tokenizer"):
        tokenizer_words(tmp_path)


def test_a_tokenizer_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    treatment = Treatment.model_validate(
        {
            "model": {"name": "m", "tokenizer": str(tmp_path)},
            "stack": {"kind": "simulated"},
            "workload": {
                "kind": "random",
                "question_len": 8,
                "output_len": 4,
                "load": {"rate": 1},
                "prompt": "text",
            },
        }
    )
    with pytest.raises(UserError, match="is no tokenizer"):
        harness("native").preflight(treatment)
