"""A store whose disk is full: really full, on a small file system of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmatrix.stacks.local_site import sites

Place = Any  # the fixture of conftest.py, which is no module that a test may import

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "llmatrix-test", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run([umount, "-l", str(disk)], check=True)


def test_a_full_disk_loses_nothing_and_what_was_measured_is_not_measured_again(
    place: Place, small_disk: Path
) -> None:
    file = place.write(results={"store": str(small_disk)}, run={"retries": 0})
    assert place("run", file, "--only", "output_len=4").code == 0
    kept = place.records(store="disk")
    assert len(kept) == 1
    ballast = small_disk / "ballast"
    fill(ballast)

    full = place("run", file, "--only", "output_len=5")
    assert full.code == 3
    last = full.err.splitlines()[-1]
    assert last.startswith(f"error: the store {small_disk}: 'small/")
    assert "could not be written: the disk is full; free some space" in last
    assert place.records(store="disk") == kept
    place.nothing_runs()

    # Only the manifest had its place before; make it certain that a trial was measured by now.
    ballast.unlink()
    fill(ballast, leave=12 * 1024)
    full = place("run", file, "--only", "output_len=5")
    assert full.code == 3
    assert " begins: " in full.err
    assert "could not be written: the disk is full; free some space" in full.err.splitlines()[-1]
    assert place.records(store="disk") == kept
    place.nothing_runs()
    (measured,) = (place.folder / "state").glob("sites/*/*/outbox/*/measured.json")
    at = measured.stat().st_mtime

    ballast.unlink()
    again = place("run", file)
    assert again.code == 0
    records = place.records(store="disk")
    assert len(records) == 2
    assert kept.items() <= records.items()
    (new,) = records.keys() - kept.keys()
    outcomes = {step["step"]: step for step in records[new]["steps"]}
    assert outcomes["workload"]["outcome"] == "unchanged"
    assert outcomes["workload"]["detail"] == "measured before, not yet uploaded"
    assert records[new]["ended_at"] <= at
    assert not list((place.folder / "state").glob("sites/*/*/outbox/*"))
    assert not [p for p in small_disk.rglob("*") if p.name.startswith(".llmatrix-part-")]


def test_a_store_that_may_only_be_read_is_said_and_nothing_starts(
    place: Place, small_disk: Path
) -> None:
    file = place.write(results={"store": str(small_disk)})
    mount = str(shutil.which("mount"))
    subprocess.run([mount, "-o", "remount,ro", str(small_disk)], check=True)
    said = place("run", file)
    assert said.code == 3
    assert said.err.splitlines()[-1] == (
        f"error: the store {small_disk}: 'small/experiment.json' could not be written: the file "
        "system is read-only; choose another store (what was there before is still there)"
    )
    assert list(sites()) == []


def test_a_working_folder_that_cannot_be_used_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.folder / "mine").write_text("a file")
    monkeypatch.setenv("LLMATRIX_STATE", str(place.folder / "mine"))
    said = place("run", place.write())
    assert said.code == 3
    last = said.err.splitlines()[-1]
    assert last.startswith(f"error: the working folder {place.folder}/mine/sites/small-")
    assert last.endswith(
        "cannot be used: Not a directory; set LLMATRIX_STATE to a folder on a local disk with "
        "space that you may write to"
    )
    assert (place.folder / "mine").read_text() == "a file"


def fill(ballast: Path, *, leave: int = 0) -> None:
    """Fill the disk to the last block, or up to ``leave`` bytes."""
    status = os.statvfs(ballast.parent)
    size = status.f_bavail * status.f_frsize - leave
    with ballast.open("wb") as file:
        file.write(b"\0" * max(size, 0))
