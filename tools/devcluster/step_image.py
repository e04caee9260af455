"""Builds the image of llmatrix itself from the Containerfile, with buildah and without a registry.

Where the Containerfile's own base cannot be pulled, a Debian root file system with Python is made
by debootstrap, once, and takes its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.devcluster import machine
from tools.devcluster.command import output, succeeds
from tools.devcluster.faults import ClusterFault
from tools.devcluster.phases import phase

REPOSITORY: Final = Path(__file__).parents[2]
_NAME: Final = "devcluster.llmatrix.local/llmatrix"
_SUITE: Final = "bookworm"
_PACKAGES: Final = ("python3", "python3-venv", "ca-certificates")
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_NEEDED: Final = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale")


def provide(cache: Path) -> tuple[str, Path]:
    """Give the image's name and its archive; what was built from the same files is not built again.

    ``LLMATRIX_DEVCLUSTER_BASE`` names a base image to pull instead of making one.

    Raises:
        ClusterFault: it cannot be built.
    """
    with _alone(cache):
        return _provide(cache)


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Let nobody else build meanwhile: whoever ends first would remove the other's containers."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "step-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _provide(cache: Path) -> tuple[str, Path]:
    base = _base()
    name = image_name()
    archive = cache / "images" / f"llmatrix-{name.rpartition(':')[2]}.tar"
    if archive.exists():
        return name, archive
    machine.provide({"buildah": "buildah"})
    if base == _own_base_name():
        _provide_base(cache, base)
    with phase("step image built"):
        _build(cache, base, name)
    with phase("step image written"):
        archive.parent.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        _buildah(cache, "push", "--quiet", name, f"docker-archive:{unfinished}:{name}")
        unfinished.replace(archive)
    # A former one is as large, and nothing would ever ask for it.
    for former in archive.parent.glob("llmatrix-*.tar"):
        if former != archive:
            former.unlink()
    return name, archive


def image_name() -> str:
    """Give the name that the image of these sources has, built or not."""
    return f"{_NAME}:{_digest(_base())}"


def _base() -> str:
    return os.environ.get("LLMATRIX_DEVCLUSTER_BASE") or _own_base_name()


def _digest(base: str) -> str:
    content = hashlib.sha256(base.encode())
    named = ("Containerfile", ".containerignore", "pyproject.toml", "uv.lock", "README.md")
    sources = sorted((REPOSITORY / "src").rglob("*"))
    for path in [*(REPOSITORY / name for name in named), *sources]:
        if path.is_file() and "__pycache__" not in path.parts:
            content.update(f"{path.relative_to(REPOSITORY)}\0".encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:16]


def _build(cache: Path, base: str, name: str) -> None:
    own = base == _own_base_name()
    # Below a network that looks into TLS, the base knows the authority; uv must be told to look.
    trust = [f"--build-arg=SSL_CERT_FILE={_AUTHORITIES}"] if own else []
    pull = "--pull=never" if own else "--pull=missing"
    flags = ["--isolation=chroot", "--network=host", "--layers", "--quiet", pull]
    base_argument = f"--build-arg=BASE={base}"
    try:
        _buildah(cache, "build", *flags, base_argument, *trust, "--tag", name, str(REPOSITORY))
    finally:
        # A build that failed leaves its container, mounted.
        succeeds(_words(cache, "rm", "--all"))


def _own_base_name() -> str:
    content = hashlib.sha256(repr((_SUITE, _PACKAGES, _NOT_NEEDED)).encode())
    if _AUTHORITIES.exists():
        content.update(_AUTHORITIES.read_bytes())
    return f"localhost/llmatrix-base:{content.hexdigest()[:16]}"


def _provide_base(cache: Path, name: str) -> None:
    if succeeds(_words(cache, "inspect", "--type=image", name)):
        return
    machine.provide({"debootstrap": "debootstrap"})
    with phase("root file system by debootstrap"), tempfile.TemporaryDirectory(dir=cache) as place:
        root = Path(place) / "root"
        include = f"--include={','.join(_PACKAGES)}"
        output(["debootstrap", "--variant=minbase", include, _SUITE, root, *_mirror()])
        for folder in _NOT_NEEDED:
            shutil.rmtree(root / folder, ignore_errors=True)
        if _AUTHORITIES.exists():
            shutil.copyfile(_AUTHORITIES, root / _AUTHORITIES.relative_to("/"))
        container = _buildah(cache, "from", "scratch").strip()
        try:
            _buildah(cache, "add", "--quiet", container, str(root), "/")
            _buildah(cache, "config", "--env", f"PATH={_PATH}", container)
            _buildah(cache, "commit", "--quiet", container, name)
        finally:
            succeeds(_words(cache, "rm", container))


def _mirror() -> list[str]:
    """Give the mirror that this machine's apt uses; debootstrap's own default without one."""
    try:
        listed = output(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)"])
    except ClusterFault:
        return []
    rows = [line.split() for line in listed.splitlines()]
    return [row[1] for row in rows if len(row) == 2 and row[0] == _SUITE][:1]  # noqa: PLR2004 - a pair


def _buildah(cache: Path, *words: str) -> str:
    return output(_words(cache, *words))


def _words(cache: Path, *words: str) -> list[str | Path]:
    store = cache / "buildah"
    places = [f"--root={store / 'root'}", f"--runroot={store / 'run'}"]
    return ["buildah", *places, "--storage-driver=overlay", *words]
