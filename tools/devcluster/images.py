"""The images of the cluster's own parts, made from built programs and kept with them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from tools.devcluster import archive
from tools.devcluster.archive import Image
from tools.devcluster.command import output
from tools.devcluster.faults import ClusterFault
from tools.devcluster.layout import Layout

_PREFIX: Final = "devcluster.llmatrix.local"
_BUSYBOX: Final = Path("/bin/busybox")
_TINI: Final = Path("/usr/bin/tini-static")
_USERS: Final = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
    "/etc/group": "root:x:0:\nnonroot:x:65532:\n",
}
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


def described(programs: Mapping[str, Path]) -> dict[str, Image]:
    """Give the images by short name; ``programs`` is what ``builds.provide`` gives."""
    found = {
        "pause": plain("pause", {"/pause": programs["pause"] / "pause"}, ["/pause"]),
        # Root without capabilities but the one that its manifest adds, to listen at port 53.
        "coredns": plain(
            "coredns", {"/coredns": programs["coredns"] / "coredns"}, ["/coredns"], user="0:0"
        ),
        "busybox": _busybox(),
    }
    tekton = programs["tekton"]
    for program in sorted(path for path in tekton.iterdir() if path.is_file()):
        at = f"/ko-app/{program.name}"
        files = {at: program}
        if program.name == "resolvers":
            files["/sbin/tini"] = _TINI
        found[program.name] = plain(f"tekton-{program.name}", files, [at])
    return found


def provide(images: Iterable[Image], cache: Path) -> list[Path]:
    """Give the archive of each image; what is not there is written."""
    archives = []
    for image in images:
        path = cache / "images" / (image.name.rpartition("/")[2].replace(":", "-") + ".tar")
        if not path.exists():
            archive.write(image, path)
        archives.append(path)
    return archives


def present(layout: Layout) -> set[str]:
    """Name the images that containerd has."""
    return set(_ctr(layout, "images", "list", "-q").split())


def load(layout: Layout, path: Path) -> list[str]:
    """Import an archive into containerd and give the names of the images in it.

    Raises:
        ClusterFault: it is no archive of images, or containerd does not run.
    """
    if not path.is_file():
        raise ClusterFault(f"there is no file {path}")
    before = present(layout)
    said = _ctr(layout, "images", "import", str(path))
    named = [line.split()[1] for line in said.splitlines() if line.startswith("unpacking ")]
    return named or sorted(present(layout) - before)


def _ctr(layout: Layout, *words: str) -> str:
    address = str(layout.containerd_socket)
    return output(["ctr", "--address", address, "--namespace", "k8s.io", *words])


def plain(
    name: str,
    files: Mapping[str, Path],
    entrypoint: list[str],
    user: str = "65532:65532",
    environment: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Image:
    """Describe an image of programs that need nothing but their files, named by its content."""
    texts = {**_USERS}
    if _CERTIFICATES.exists():
        texts["/etc/ssl/certs/ca-certificates.crt"] = _CERTIFICATES.read_text(encoding="utf-8")
    temporary = {"/tmp": 0o1777}  # noqa: S108 - a folder of the image
    return tagged(
        Image(
            name,
            files,
            entrypoint,
            user,
            texts=texts,
            links=links or {},
            folders=temporary,
            environment=environment or {},
        )
    )


def _busybox() -> Image:
    listed = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=False)
    applets = sorted(set(listed.stdout.split()) - {"busybox"})
    return tagged(
        Image(
            "busybox",
            {"/bin/busybox": _BUSYBOX},
            ["/bin/sh"],
            user="0:0",  # Tekton's shell image makes folders on volumes
            texts=_USERS,
            links={f"/bin/{name}": "busybox" for name in applets},
            folders={"/tmp": 0o1777, "/root": 0o700, "/var/www": 0o755},  # noqa: S108 - the image's
            environment={"PATH": "/bin"},
        )
    )


def tagged(image: Image) -> Image:
    """Name the image by its content, so that what was made once is never made again."""
    content = hashlib.sha256()
    for path, source in sorted(image.files.items()):
        with source.open("rb") as data:
            content.update(f"{path}\0{hashlib.file_digest(data, 'sha256').hexdigest()}".encode())
    rest = (dict(image.texts), dict(image.links), dict(image.folders), dict(image.environment))
    content.update(json.dumps([rest, list(image.entrypoint), image.user], sort_keys=True).encode())
    name = f"{_PREFIX}/{image.name}:{content.hexdigest()[:16]}"
    return replace(image, name=name)
