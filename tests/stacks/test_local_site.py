"""A site is held by one llmatrix at a time, and found and swept once its holder has gone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from llmatrix.errors import EnvironmentFault
from llmatrix.plan.step import Step
from llmatrix.stacks import local_site, processes
from llmatrix.stacks.local_site import LocalSite
from llmatrix.stacks.waiting import until


@pytest.fixture
def lane() -> Path:
    return local_site.site_folder("demo", "/somewhere/results", 0)


@contextmanager
def another_llmatrix(lane: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the site from another process, with a server on it."""
    code = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from llmatrix.stacks import processes
        from llmatrix.stacks.local_site import LocalSite
        site = LocalSite.open(Path({str(lane)!r}))
        processes.start("server", ["sleep", "600"], site.folder)
        print("held", flush=True)
        time.sleep(600)
    """)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_where_sites_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert local_site.state_folder() == tmp_path / "state"
    monkeypatch.delenv("LLMATRIX_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert local_site.state_folder() == Path("/xdg/llmatrix")
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_site.state_folder() == Path("/home/ada/.local/state/llmatrix")
    first = local_site.site_folder("demo", "/a/results", 0)
    assert first.name == "lane-0"
    assert first.parent.name.startswith("demo-")
    assert first != local_site.site_folder("demo", "/b/results", 0)
    assert first == local_site.site_folder("demo", "/a/results", 0)


def test_keys_outlive_whoever_wrote_them(lane: Path) -> None:
    with LocalSite.open(lane) as site:
        site.claim(Step.ROUTER, "a")
        site.claim(Step.SERVER, "b")
        site.disclaim(Step.ROUTER)
    with LocalSite.open(lane) as site:
        assert site.claimed(Step.ROUTER) is None
        assert site.claimed(Step.SERVER) == "b"


def test_torn_keys_claim_nothing(lane: Path) -> None:
    with LocalSite.open(lane) as site:
        site.claim(Step.SERVER, "b")
        (lane / "keys.json").write_text('{"server": ')
        assert site.claimed(Step.SERVER) is None
        site.claim(Step.SERVER, "c")
        assert site.claimed(Step.SERVER) == "c"


def test_keys_that_cannot_be_written_say_so(lane: Path) -> None:
    with LocalSite.open(lane) as site:
        site.claim(Step.SERVER, "b")
        (lane / "keys.json.new").mkdir()  # whatever the system refuses, a full disk too
        with pytest.raises(EnvironmentFault, match=r"working folder .* cannot be used"):
            site.claim(Step.ROUTER, "a")
        assert site.claimed(Step.SERVER) == "b"


def test_only_one_holds_a_site(lane: Path) -> None:
    with another_llmatrix(lane) as other:
        with pytest.raises(EnvironmentFault, match=rf"another llmatrix \(pid {other.pid}\)"):
            LocalSite.open(lane)
        assert LocalSite(lane).holder() == other.pid
        assert local_site.orphans() == []
        assert local_site.sweep(LocalSite(lane)) == []
        assert processes.recorded(lane)
        other.kill()
        other.wait()
        with LocalSite.open(lane) as site:
            assert site.holder() == os.getpid()
            assert site.discard() == []


def test_the_orphan_of_a_killed_llmatrix_is_swept(lane: Path) -> None:
    with another_llmatrix(lane) as other:
        other.kill()
        other.wait()
    (orphan,) = local_site.orphans()
    assert orphan.folder == lane
    (identity,) = processes.recorded(lane)
    assert processes.alive(identity)
    assert local_site.sweep(orphan) == []
    assert not processes.alive(identity)
    assert not lane.parent.exists()
    assert local_site.sweep(orphan) == []  # a second time there is nothing to do
    assert local_site.orphans() == []


@pytest.mark.slow
def test_killed_at_any_moment_of_starting_nothing_outlives_the_sweep(lane: Path) -> None:
    """A killed llmatrix is in the midst of starting one of many servers; the sweep gets them all.

    That nothing is left, recorded or not, is what the fixture ``no_process_left`` asserts.
    """
    code = textwrap.dedent(f"""
        from pathlib import Path
        from llmatrix.stacks import processes
        from llmatrix.stacks.local_site import LocalSite
        site = LocalSite.open(Path({str(lane)!r}))
        print("held", flush=True)
        for number in range(200):
            processes.start(f"server-{{number}}", ["sleep", "600"], site.folder)
    """)

    def stand(count: int) -> bool:
        return len(processes.recorded(lane)) >= count

    for standing in range(12):
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            # The next one is being started just then: at which point of it, chance decides.
            assert until(partial(stand, standing), 20.0)
            other.kill()
        (orphan,) = until(local_site.orphans, 10.0) or [LocalSite(lane)]
        assert len(processes.recorded(lane)) >= standing
        assert local_site.sweep(orphan) == []
        assert not lane.exists()


def test_a_kept_site_is_no_orphan_until_it_is_opened_again(lane: Path) -> None:
    with LocalSite.open(lane) as site:
        site.keep()
    assert local_site.orphans() == []
    assert [site.kept for site in local_site.sites()] == [True]
    assert local_site.sweep(LocalSite(lane)) == []
    assert lane.is_dir()
    LocalSite.open(lane).close()
    assert [site.folder for site in local_site.orphans()] == [lane]


def test_a_looker_does_not_keep_a_run_from_opening(lane: Path) -> None:
    LocalSite.open(lane).close()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            local_site.orphans()

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(50):
            LocalSite.open(lane).close()
    finally:
        done.set()
        looker.join()


def test_sweepers_and_runs_at_once_do_not_hurt_each_other(lane: Path) -> None:
    """Whoever holds the site finds its own folder there for as long as it holds it."""
    faults: list[BaseException] = []
    done = threading.Event()

    def sweep() -> None:
        try:
            while not done.is_set():
                for orphan in local_site.orphans():
                    assert local_site.sweep(orphan) == []
        except BaseException as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    def run() -> None:
        try:
            for number in range(25):
                with LocalSite.open(lane) as site:
                    site.claim(Step.SERVER, str(number))
                    assert site.claimed(Step.SERVER) == str(number)
                    assert site.outbox.is_dir()
        except BaseException as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    runner = threading.Thread(target=run)
    for thread in (*sweepers, runner):
        thread.start()
    runner.join()
    done.set()
    for thread in sweepers:
        thread.join()
    assert faults == []


def test_what_cannot_be_removed_is_said(lane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = LocalSite.open(lane)
    monkeypatch.setattr(processes, "end", lambda _: ["process 7 (server) does not end"])
    assert site.discard() == ["process 7 (server) does not end"]
    assert lane.is_dir()
    assert [orphan.folder for orphan in local_site.orphans()] == [lane]


def test_a_state_folder_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMATRIX_STATE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFault, match="set LLMATRIX_STATE to a folder"):
        LocalSite.open(local_site.site_folder("demo", "/r", 0))
    assert list(local_site.sites()) == []


def test_the_lock_does_not_pass_to_processes_of_the_site(lane: Path) -> None:
    with LocalSite.open(lane) as site:
        identity = processes.start("server", ["sleep", "600"], site.folder)
    with LocalSite.open(lane) as site:
        assert processes.alive(identity)
        assert site.discard() == []
