"""An image's archive holds what was asked for, and the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tools.devcluster import archive


@pytest.fixture
def image(tmp_path: Path) -> archive.Image:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and so on")
    return archive.Image(
        "example.local/it:1",
        {"/ko-app/it": program},
        ["/ko-app/it"],
        texts={"/etc/passwd": "root:x:0:0::/:/bin/sh\n"},
        links={"/bin/sh": "busybox"},
        folders={"/tmp": 0o1777},
        environment={"PATH": "/bin"},
    )


def test_the_layer_holds_files_below_their_folders(image: archive.Image, tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    archive.write(image, target)
    with tarfile.open(target) as whole:
        (manifest,) = json.loads(_read(whole, "manifest.json"))
        layer = _read(whole, manifest["Layers"][0])
        config = json.loads(_read(whole, manifest["Config"]))
    assert manifest["RepoTags"] == ["example.local/it:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Env"] == ["PATH=/bin"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        assert files.getnames() == [
            "bin",
            "etc",
            "ko-app",
            "tmp",
            "ko-app/it",
            "etc/passwd",
            "bin/sh",
        ]
        assert files.getmember("tmp").mode == 0o1777
        assert files.getmember("ko-app/it").mode == 0o755
        assert files.getmember("bin/sh").linkname == "busybox"
        assert _read(files, "ko-app/it") == b"\x7fELF and so on"
        assert {(member.uid, member.mtime) for member in files} == {(0, 0)}


def test_the_same_image_is_the_same_bytes(image: archive.Image, tmp_path: Path) -> None:
    contents = []
    for name in ("one.tar", "other.tar"):
        archive.write(image, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_a_broken_write_leaves_nothing(image: archive.Image, tmp_path: Path) -> None:
    image.files["/ko-app/it"].unlink()
    target = tmp_path / "images/image.tar"
    with pytest.raises(FileNotFoundError):
        archive.write(image, target)
    assert list(target.parent.iterdir()) == []


def _read(content: tarfile.TarFile, name: str) -> bytes:
    file = content.extractfile(name)
    assert file is not None
    return file.read()
