"""Writes a container image as a docker-archive: one layer and what runs in it, no registry needed.

The same content gives the same bytes: entries are sorted, belong to root and have no age.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

_EXECUTABLE: Final = 0o755


@dataclass(frozen=True)
class Image:
    """An image of a few files.

    Attributes:
        name: its name and tag; a tag that is not ``latest`` is never pulled.
        files: path in the image → file of this machine.
        texts: path in the image → content.
        links: path in the image → where the link leads.
        folders: path in the image → mode, for folders that are made empty.
        entrypoint, user, environment: what runs in it, as whom, with what.
    """

    name: str
    files: Mapping[str, Path]
    entrypoint: Sequence[str]
    user: str = "65532:65532"
    texts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def write(image: Image, target: Path) -> None:
    """Write the image to ``target``, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        layer = Path(place) / "layer.tar"
        with tarfile.open(layer, "w") as content:
            _fill(content, image)
        whole = Path(place) / "image.tar"
        _wrap(image, layer, whole)
        whole.replace(target)


def _fill(layer: tarfile.TarFile, image: Image) -> None:
    paths = [*image.files, *image.texts, *image.links, *image.folders]
    parents = {str(parent).strip("/") for path in paths for parent in Path(path).parents}
    empty = {path.strip("/"): mode for path, mode in image.folders.items()}
    for folder in sorted((parents | set(empty)) - {"", "."}):
        _add(layer, folder, tarfile.DIRTYPE, empty.get(folder, _EXECUTABLE))
    for path, source in sorted(image.files.items()):
        with source.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            _add(layer, path, tarfile.REGTYPE, _EXECUTABLE, content=content, size=size)
    for path, text in sorted(image.texts.items()):
        data = text.encode()
        _add(layer, path, tarfile.REGTYPE, 0o644, content=io.BytesIO(data), size=len(data))
    for path, goal in sorted(image.links.items()):
        _add(layer, path, tarfile.SYMTYPE, 0o777, goal=goal)


def _add(
    layer: tarfile.TarFile,
    path: str,
    kind: bytes,
    mode: int,
    *,
    goal: str = "",
    content: IO[bytes] | None = None,
    size: int = 0,
) -> None:
    entry = tarfile.TarInfo(path.strip("/"))
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, goal, size
    layer.addfile(entry, content)


def _wrap(image: Image, layer: Path, target: Path) -> None:
    with layer.open("rb") as content:
        layer_digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": list(image.entrypoint),
            "User": image.user,
            "Env": [f"{name}={value}" for name, value in sorted(image.environment.items())],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
    }
    described = json.dumps(config, sort_keys=True).encode()
    name = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [image.name], "Layers": [f"{layer_digest}.tar"]}]
    with tarfile.open(target, "w") as whole:
        for path, data in ((name, described), ("manifest.json", json.dumps(manifest).encode())):
            _add(whole, path, tarfile.REGTYPE, 0o644, content=io.BytesIO(data), size=len(data))
        with layer.open("rb") as content:
            size = layer.stat().st_size
            _add(whole, f"{layer_digest}.tar", tarfile.REGTYPE, 0o644, content=content, size=size)


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
