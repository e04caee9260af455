"""What a file takes beside the PipelineRuns, by each of the standard library's ways to compress.

`.venv/bin/python benchmarks/carried.py PATH/tokenizer.json …`
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from llmatrix.cluster.carriers import PART_BYTES, packed
from llmatrix.engines.tekton.carried import MOST_BYTES

MIB: Final = 1024 * 1024
Way = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def _ours(content: bytes) -> bytes:
    return packed(content, len(content) + MIB) or b""


WAYS: Final[Mapping[str, Way]] = {
    "gzip, level 9": (lambda content: gzip.compress(content, 9), gzip.decompress),
    "LZMA, preset 1": (lambda content: lzma.compress(content, preset=1), lzma.decompress),
    "LZMA, preset 6": (lzma.compress, lzma.decompress),
    "bz2, as carried": (_ours, bz2.decompress),
}


def main() -> int:
    taken = 0
    for name in sys.argv[1:]:
        content = Path(name).read_bytes()
        print(f"{name}: {len(content) / MIB:.2f} MiB")
        for way, (compress, restore) in WAYS.items():
            started = time.process_time()
            compressed = compress(content)
            between = time.process_time()
            if restore(compressed) != content:
                raise AssertionError(way)
            ended = time.process_time()
            print(
                f"  {way:16}{len(compressed) / MIB:7.2f} MiB{between - started:8.2f} s there"
                f"{ended - between:8.2f} s back"
            )
        parts = -(-len(compressed) // PART_BYTES)
        taken += len(compressed)
        print(f"  {parts} ConfigMaps")
    missed = taken > MOST_BYTES
    print(f"limit: {MOST_BYTES / MIB:g} MiB together: {'missed' if missed else 'kept'}")
    return int(missed)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python benchmarks/carried.py FILE…")
    sys.exit(main())
