"""Write a tiny llama-type model with random weights, to try a real engine with.

    python examples/tiny_model.py tiny.gguf [tokenizer.json]

It answers nonsense, as fast as a model of 2 layers can, in every way as a real one would: 512
tokens (200 of them words of two letters), 64 wide, 4 heads, a context of 16,384 tokens, about
0.6 MB. The second file is its tokenizer, from which prompts of text get an exact length. Needs
``pip install llmatrix[llamacpp]``.
"""

from __future__ import annotations

import itertools
import json
import string
import sys
from pathlib import Path

import gguf
import numpy as np

LAYERS = 2
WIDTH = 64
HEADS = 4
FEED_FORWARD = 128
CONTEXT = 16384
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPACE = "\u2581"
LETTERS = list(string.ascii_lowercase)
STARTS = [SPACE + letter for letter in LETTERS]
PAIRS = itertools.islice(itertools.product(STARTS, LETTERS), 200)
MERGES = [*((SPACE, letter) for letter in LETTERS), *PAIRS]
"""Two tokens that become one, the first of them first."""
TOKENS = [*SPECIAL, *BYTES, SPACE, *LETTERS, *map("".join, MERGES)]
VOCABULARY = len(TOKENS)


def write(path: Path, seed: int = 0) -> None:
    """Write the model to ``path``; the same seed gives the same weights."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    _add_tokenizer(writer)
    _add_weights(writer, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(path: Path) -> None:
    """Write the same tokenizer to ``path`` as Hugging Face's libraries read it."""
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    document = {
        "version": "1.0",
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces],
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": SPECIAL[0],
            "byte_fallback": True,
            "vocab": {token: number for number, token in enumerate(TOKENS)},
            "merges": [" ".join(pair) for pair in MERGES],
        },
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """Add three control tokens, one token for each byte, letters, and words for the rest."""
    kind = gguf.TokenType
    rest = VOCABULARY - len(SPECIAL) - len(BYTES)
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256, *[kind.NORMAL] * rest]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def _add_weights(writer: gguf.GGUFWriter, rng: np.random.Generator) -> None:
    def add(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", rng.normal(0, 0.1, shape).astype(np.float32))

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))

    add("token_embd", VOCABULARY, WIDTH)
    add("output", VOCABULARY, WIDTH)
    add_norm("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        add_norm(f"{block}.attn_norm")
        add_norm(f"{block}.ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}", WIDTH, WIDTH)
        add(f"{block}.ffn_gate", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_up", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_down", WIDTH, FEED_FORWARD)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:  # noqa: PLR2004 - the program and one path or two
        sys.exit("usage: python examples/tiny_model.py PATH.gguf [tokenizer.json]")
    write(Path(sys.argv[1]))
    if sys.argv[2:]:
        write_tokenizer(Path(sys.argv[2]))
