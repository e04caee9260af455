"""Writing prompts: seconds for 100,000 of 1,000 tokens, and whether every one counts as asked.

`.venv/bin/python benchmarks/loadgen/prompts.py [--prompts 100000] [--tokens 1000]
[--tokenizer FOLDER] [--checked 2000]`

Prompts as token ids, as words of a simulated server, and as text of a real tokenizer: that in
`FOLDER` (`tokenizer.json`), or one that is trained here (byte-level BPE). Some of each are counted
again, by the tokenizer where there is one, and all are told apart by their first 16 tokens. Ends
with 1 if a count is wrong, two prompts begin alike, or a kind takes more than 30 CPU seconds.
"""

from __future__ import annotations

import argparse
import random
import string
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers

from llmatrix.harness.native.forms import Form
from llmatrix.harness.native.prompts import Prompts, Vocabulary, token_ids, words
from llmatrix.harness.native.tokenized import tokenizer_words

LIMIT_S = 30.0


def train(folder: Path) -> None:
    """Make a byte-level BPE tokenizer with a begin-of-text token, of made-up words."""
    letters = random.Random(1)
    made = ["".join(letters.choices(string.ascii_lowercase, k=5)) for _ in range(2000)]
    tokenizer: Any = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=16_000, special_tokens=["<s>"], show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([" ".join(made), *(f"{word}\n" for word in made)], trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def measure(
    name: str, vocabulary: Vocabulary, count: Callable[[list[str]], list[int]], args: Any
) -> bool:
    """Write all prompts, count some of them again; tell whether all is well."""
    shape = Form(b"", b"", vocabulary.between, vocabulary.between)
    made = Prompts(vocabulary, shape, seed=7, question_len=args.tokens, output_len=1)
    begun = time.process_time()
    firsts, size, checked = set(), 0, []
    for number in range(args.prompts):
        text = made.question(number)
        size += len(text)
        firsts.add(hash(tuple(text.split(vocabulary.between, 16)[:16])))
        if number % max(1, args.prompts // args.checked) == 0:
            checked.append(text.decode())
    seconds = time.process_time() - begun
    wrong = sum(tokens != args.tokens for tokens in count(checked))
    alike = args.prompts - len(firsts)
    print(
        f"{name:10s} {args.prompts:,} prompts of {args.tokens:,} tokens: {seconds:6.2f} CPU s,"
        f" {seconds / args.prompts * 1e6:5.1f} µs each, {size / 1e6:,.0f} MB;"
        f" {len(checked):,} counted again, {wrong} wrong; {alike} begin alike",
        flush=True,
    )
    return not wrong and not alike and seconds <= LIMIT_S


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=1_000)
    parser.add_argument("--checked", type=int, default=2_000)
    parser.add_argument("--tokenizer", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.tokenizer or Path(name)
        if args.tokenizer is None:
            train(folder)
        loaded: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        well = [
            measure("token ids", token_ids(128_000), lambda t: [1 + x.count(",") for x in t], args),
            measure("words", words(128_000), lambda t: [len(x.split(" ")) for x in t], args),
            measure(
                "tokenizer",
                tokenizer_words(folder),
                lambda t: [len(e.ids) for e in loaded.encode_batch(t)],
                args,
            ),
        ]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
