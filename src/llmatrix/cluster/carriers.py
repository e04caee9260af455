"""ConfigMaps that carry contents: known by their hash, compressed, in as many parts as it takes.

What a resolved document names by its SHA-256 only is beside the objects that use it. Its
compressed bytes, cut, are the ``part`` of a ConfigMap each: of the first, whose name the hash
gives, and of others, which follow from it. Every one says how many there are.
"""

from __future__ import annotations

import base64
import bz2
import hashlib
from collections.abc import Mapping
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import CONFIG_MAP, Object
from llmatrix.cluster.naming import label_value, short_hash

PART_BYTES: Final = 900 * 1024
"""Of a ConfigMap's data, of which Kubernetes takes 1 MiB; etcd takes 1.5 MiB for an object."""
CARRIED: Final = "carried"
"""Component, and stem of the name, of these ConfigMaps."""
SELECTION: Final[Mapping[str, str]] = {labels.MANAGED_BY: labels.OURS, labels.COMPONENT: CARRIED}
"""Labels of these ConfigMaps."""
_ENTRY: Final = "part.bz2"
_PIECE: Final = 1024 * 1024
_MOST_PARTS: Final = 1000
"""That a ConfigMap is believed to have beside it."""
_MOST_PLAIN: Final = 2 * 1024**3
"""Bytes that a content is believed to have."""


class NotCarriedError(Exception):
    """A content is not there, or not whole.

    Attributes:
        name: of the ConfigMap that is to blame.
        why: in words.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"ConfigMap {name}: {why}")
        self.name = name
        self.why = why


def sha256(content: bytes) -> str:
    """Hash a content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def packed(content: bytes, most: int) -> bytes | None:
    """Compress a content; None, as soon as that is certain, if it takes more than ``most`` bytes.

    Of the standard library's ways this makes about the least of a tokenizer, and the best LZMA,
    which makes as little, takes seven times as long (``benchmarks/carried.py``).
    """
    press = bz2.BZ2Compressor()
    made = bytearray()
    for at in range(0, len(content), _PIECE):
        made += press.compress(content[at : at + _PIECE])
        if len(made) > most:
            return None
    made += press.flush()
    return bytes(made) if len(made) <= most else None


def name(experiment: str, digest: str, part: int = 1) -> str:
    """Name the ConfigMap of a part, from 1; each experiment has its own, and removes them."""
    first = f"llmatrix-{CARRIED}-{short_hash(experiment, digest)}"
    return first if part == 1 else f"{first}-{part}"


def config_maps(
    experiment: str, digest: str, compressed: bytes, *, namespace: str, expires: int
) -> list[Object]:
    """Give the ConfigMaps that carry a content.

    Args:
        experiment: whose it is.
        digest: SHA-256 of the content, in hexadecimal.
        compressed: the content, as ``packed`` gives it.
        namespace: for them.
        expires: POSIX second after which nobody wants them.
    """
    parts = [compressed[at : at + PART_BYTES] for at in range(0, len(compressed), PART_BYTES)]
    return [
        {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.name,
            "metadata": {
                "name": name(experiment, digest, number),
                "namespace": namespace,
                "labels": {
                    **SELECTION,
                    labels.EXPERIMENT: label_value(experiment),
                    labels.EXPIRES: str(expires),
                },
                "annotations": {labels.SPEC: digest, labels.PARTS: str(len(parts))},
            },
            "binaryData": {_ENTRY: base64.b64encode(part).decode()},
        }
        for number, part in enumerate(parts, 1)
    ]


def read(cluster: Cluster, namespace: str, experiment: str, digest: str) -> bytes:
    """Give the content of a hash that is carried for an experiment.

    Raises:
        NotCarriedError: a part of it is not there, or together they are something else.
        ClusterFault: the cluster cannot be asked.
    """
    first = _found(cluster, namespace, name(experiment, digest))
    names = [name(experiment, digest, number) for number in range(2, _parts(first) + 1)]
    documents = [first, *(_found(cluster, namespace, each) for each in names)]
    content = _unpacked(b"".join(map(_part, documents)))
    if content is None or sha256(content) != digest:
        raise NotCarriedError(
            name(experiment, digest), "it does not hold what the trial was planned with"
        )
    return content


def _found(cluster: Cluster, namespace: str, called: str) -> Object:
    found = cluster.get(CONFIG_MAP, called, namespace)
    if found is None:
        raise NotCarriedError(called, "it is not there")
    return found


def _parts(first: Object) -> int:
    told = (first["metadata"].get("annotations") or {}).get(labels.PARTS, "")
    number = int(told) if told.isascii() and told.isdigit() and len(told) < 8 else 0  # noqa: PLR2004
    if not 1 <= number <= _MOST_PARTS:
        raise NotCarriedError(first["metadata"]["name"], "it does not say how many parts there are")
    return number


def _part(document: Object) -> bytes:
    try:
        return base64.b64decode((document.get("binaryData") or {}).get(_ENTRY, ""), validate=True)
    except ValueError:
        return b""


def _unpacked(compressed: bytes) -> bytes | None:
    """Give the content of which these are the compressed bytes, and no others; None: they are not.

    However much comes out of them, it stops at what can be meant.
    """
    press = bz2.BZ2Decompressor()
    try:
        content = press.decompress(compressed, _MOST_PLAIN)
    except (OSError, ValueError, EOFError):
        return None
    return content if press.eof and not press.unused_data else None
