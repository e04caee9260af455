from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmatrix.errors import StoreFault, UserError
from llmatrix.results.folder import LEFTOVER_S, TEMPORARY, FolderStore, open_store


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(TEMPORARY)]


def make_leftover(folder: Path, *, age_s: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{TEMPORARY}0123"
    path.write_bytes(b"half")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_a_relative_store_is_beside_the_experiment_file(tmp_path: Path) -> None:
    store = open_store("results/", folder=tmp_path)
    store.put("e/a", b"1")
    assert (tmp_path / "results/e/a").read_bytes() == b"1"
    assert store.url == str(tmp_path / "results")
    assert open_store(f"file://{tmp_path}/results", folder=Path("/")).get("e/a") == b"1"


def test_a_store_of_an_unknown_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no store of kind 'ftp://'.*s3://bucket/prefix"):
        open_store("ftp://host/x", folder=tmp_path)


def test_a_leftover_is_no_name_and_cannot_be_asked_for(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    leftover = make_leftover(tmp_path / "e/t", age_s=0)
    assert list(store.names()) == []
    assert list(store.folders("e/")) == []
    with pytest.raises(UserError):
        store.get(f"e/t/{leftover.name}")


def test_an_empty_folder_is_only_named_if_asked_for(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("e/t1/x", b"")
    (tmp_path / "e/t2/inner").mkdir(parents=True)
    assert list(store.folders("e/")) == ["t1"]
    assert list(store.folders("e/", empty=True)) == ["t1", "t2"]


def test_old_leftovers_are_swept_by_the_first_put(tmp_path: Path) -> None:
    old = make_leftover(tmp_path / "e/t1", age_s=LEFTOVER_S + 1)
    young = make_leftover(tmp_path / "e/t2", age_s=0)
    other = make_leftover(tmp_path / "f/t", age_s=LEFTOVER_S + 1)
    FolderStore(tmp_path).put("e/t3/x", b"")
    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_a_file_that_its_writer_holds_is_left_alone_however_old(tmp_path: Path) -> None:
    held = make_leftover(tmp_path / "e/t", age_s=10 * LEFTOVER_S)
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert FolderStore(tmp_path).sweep("e") == 0
        assert held.exists()
    assert FolderStore(tmp_path).sweep("e") == 1


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    store = FolderStore(tmp_path / "results")
    with pytest.raises(StoreFault, match="is a file, not a folder"):
        store.put("e/a", b"")
    with pytest.raises(StoreFault, match="is a file, not a folder"):
        list(store.names())


def test_a_folder_where_a_file_should_go_is_told(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("e/t/a", b"")
    with pytest.raises(StoreFault, match="'e/t' could not be written"):
        store.put("e/t", b"")
    assert leftovers(tmp_path) == []


def test_a_name_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreFault, match="too long"):
        FolderStore(tmp_path).put("e/" + "x" * 300, b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_right_to_write_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreFault, match="no right"):
        FolderStore(tmp_path / "results").put("e/a", b"")


def test_links_that_lead_out_are_not_followed_when_listing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("")
    store = FolderStore(tmp_path / "store")
    store.put("e/a", b"")
    (tmp_path / "store/e/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "store/loop").symlink_to(tmp_path / "store")
    assert list(store.names()) == ["e/a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    unmounting = ["umount", "-l", str(folder)]
    subprocess.run(unmounting, check=True)


def test_a_full_disk_is_told_and_what_was_there_stays(small_disk: Path) -> None:
    store = FolderStore(small_disk / "results")
    store.put("e/t/x", b"first")
    with pytest.raises(StoreFault, match="disk is full"):
        store.put("e/t/x", b"x" * 2_000_000)
    assert store.get("e/t/x") == b"first"
    assert leftovers(small_disk) == []
    store.put("e/t/y", b"room for a little again")


def test_a_file_larger_than_allowed_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    """The same without a right to mount: the limit of the process on file sizes."""
    script = f"""
        import resource, signal
        from pathlib import Path
        from llmatrix.errors import StoreFault
        from llmatrix.results.folder import FolderStore
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        store = FolderStore(Path({str(tmp_path)!r}))
        store.put("e/t/x", b"first")
        try:
            store.put("e/t/x", b"x" * 200_000)
        except StoreFault as fault:
            print(fault)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True, text=True
    )
    assert "could not be written" in done.stdout
    assert FolderStore(tmp_path).get("e/t/x") == b"first"
    assert leftovers(tmp_path) == []


WRITER = """
    import itertools, sys
    from pathlib import Path
    from llmatrix.results.folder import FolderStore
    store = FolderStore(Path(sys.argv[1]))
    print("ready", flush=True)
    for number in itertools.count():
        store.put(f"e/t{number % 7}/x", b"%09d" % number * 50_000)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_every_name_whole_or_absent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    moments = np.random.default_rng(3)
    store = FolderStore(tmp_path)
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(moments.uniform(0, 0.15))
            writer.send_signal(signal.SIGKILL)
        for name in store.names():
            content = store.get(name)
            assert content == content[:9] * 50_000
    for leftover in leftovers(tmp_path):
        then = time.time() - LEFTOVER_S - 1
        os.utime(leftover, (then, then))
    FolderStore(tmp_path).put("e/done", b"")
    assert leftovers(tmp_path) == []
