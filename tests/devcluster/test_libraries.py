"""What an image of one program must bring along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.devcluster import libraries
from tools.devcluster.faults import ClusterFault

SAID = """\
\tlinux-vdso.so.1 (0x00007ff4413f4000)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007ff441302000)
\tlibggml.so => /opt/llama/libggml.so (0x00007ff4412fd000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007ff4413f6000)
"""


def test_libraries_and_the_loader_are_read() -> None:
    found = list(libraries.parse(SAID, Path("program")))
    names = ["/lib/x86_64-linux-gnu/libm.so.6", "/opt/llama/libggml.so"]
    assert found == [*map(Path, names), Path("/lib64/ld-linux-x86-64.so.2")]


def test_a_static_program_needs_nothing() -> None:
    assert list(libraries.parse("\tstatically linked\n", Path("program"))) == []


def test_a_library_that_is_not_here_is_named() -> None:
    with pytest.raises(ClusterFault, match=r"server needs libgomp\.so\.1, which this machine"):
        list(libraries.parse("\tlibgomp.so.1 => not found\n", Path("server")))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ldd is Linux's")
def test_a_program_runs_with_nothing_but_them(tmp_path: Path) -> None:
    program = Path("/bin/ls")
    found = libraries.needed([program])
    loader = next(path for path in found.values() if path.name.startswith("ld-"))
    for path in found.values():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    alone: list[str | Path] = [
        loader,
        "--inhibit-cache",
        "--library-path",
        tmp_path,
        program,
        tmp_path,
    ]
    listed = subprocess.run(alone, capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) == {path.name for path in found.values()}


def test_what_lies_beside_is_left_out() -> None:
    beside = next(iter(libraries.needed([Path("/bin/ls")]).values())).parent
    left = libraries.needed([Path("/bin/ls")], beside=beside)
    assert not [path for path in left.values() if path.is_relative_to(beside)]
