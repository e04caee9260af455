"""A model downloaded from a Hub that is served here, over HTTP, with what goes wrong there."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.stacks.hub import fetching, silence, told
from llmatrix.stacks.hub.download import download
from llmatrix.stacks.hub.source import Source
from llmatrix.stacks.hub.volume import MARKER, Volume
from llmatrix.stacks.hub.wanted import Wanted
from llmatrix.stacks.waiting import until
from stacks.hub.hub_server import (
    COMMIT,
    GOOD_TOKEN,
    PAUSE_S,
    STRANGER_TOKEN,
    TINY,
    TREE,
    Fault,
    Repo,
    Running,
    tiny_model,
)

pytest.importorskip("huggingface_hub")
WEIGHTS = "model-00001-of-00002.safetensors"
MIB = 2**20
Make = Callable[..., Running]
WANTED = Wanted(TINY, COMMIT)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence counts as one after two seconds, not twenty; what is tried again is so at once."""
    monkeypatch.setattr(silence, "SILENT_S", 2.0)
    monkeypatch.setattr(silence, "TRY_S", 1.0)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setattr(fetching, "_AGAIN_S", 0.0)


def bring(
    running: Running,
    root: Path,
    wanted: Wanted = WANTED,
    *,
    token: str = "",
    path: str = "",
    makes_room: bool = False,
    said: list[str] | None = None,
) -> told.Done:
    return download(
        Source(wanted, running.url, token),
        Volume(root),
        path=path,
        makes_room=makes_room,
        stop=threading.Event(),
        say=(said if said is not None else []).append,
    )


def lying(root: Path, wanted: Wanted = WANTED) -> dict[str, bytes]:
    """Give the files of a model's folder, ours apart."""
    folder = root / wanted.folder
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file() and not each.relative_to(folder).parts[0].startswith(".llmatrix")
    }


def failing(running: Running, root: Path, wanted: Wanted = WANTED, token: str = "") -> StepFailure:
    with pytest.raises(StepFailure) as caught:
        bring(running, root, wanted, token=token)
    assert not (root / wanted.folder / MARKER).exists()
    return caught.value


def test_all_files_come_once(make_hub: Make, root: Path) -> None:
    running, said = make_hub(), list[str]()
    files = tiny_model().files
    total = sum(map(len, files.values()))
    done = bring(running, root, said=said)
    assert lying(root) == files
    assert done == told.Done(len(files), total, total)
    assert told.Progress.last("\n".join(said)) is not None
    running.stop()  # a model that is there needs no Hub
    assert bring(running, root) == told.Done(len(files), total, 0)
    assert running.hub.sent() == tiny_model().sizes()


def test_patterns_choose_and_have_a_folder_of_their_own(make_hub: Make, root: Path) -> None:
    running = make_hub()
    some = Wanted(TINY, COMMIT, allow=("*.json", "*.safetensors"), ignore=("*-00002-of-*",))
    bring(running, root, some)
    assert set(lying(root, some)) == {"config.json", "tokenizer.json", WEIGHTS}
    assert some.folder != WANTED.folder
    assert lying(root) == {}
    with pytest.raises(StepFailure, match=r"stack\.model\.allow .* it has config\.json") as caught:
        bring(running, root, Wanted(TINY, COMMIT, allow=("*.bin",)))
    assert caught.value.failure is FailureClass.USER


def test_what_the_servers_load_must_be_among_the_files(make_hub: Make, root: Path) -> None:
    running = make_hub()
    with pytest.raises(StepFailure, match=r"no 'other\.gguf' .* it has tiny\.gguf") as caught:
        bring(running, root, path="other.gguf")
    assert caught.value.failure is FailureClass.USER
    for path in ("tiny.gguf", "original"):
        bring(running, root, path=path)


def test_the_other_address_is_not_sent_our_token(make_hub: Make, root: Path) -> None:
    repo = tiny_model()
    repo.gated = True
    running = make_hub(gated=repo)
    bring(running, root, Wanted("tiny-org/gated", COMMIT), token=GOOD_TOKEN)
    assert lying(root, Wanted("tiny-org/gated", COMMIT)) == repo.files


@pytest.mark.parametrize(
    ("name", "revision", "token", "message"),
    [
        ("gated", COMMIT, STRANGER_TOKEN, "is gated, and the owner of the token has no access"),
        ("gated", COMMIT, "", r"is gated: ask for access at http.*/tiny-org/gated, and set stack"),
        ("private", COMMIT, STRANGER_TOKEN, "no repository tiny-org/private at .* may not see it"),
        ("private", COMMIT, "", r"no repository .* needs stack\.model\.token"),
        ("absent", COMMIT, GOOD_TOKEN, "there is no repository tiny-org/absent"),
        ("absent", COMMIT, "", "there is no repository tiny-org/absent"),
        ("open", "a" * 40, "", "tiny-org/open has no revision aaaa.*/commits/main"),
        ("open", COMMIT, "hf_wrong", r"does not know the token \(401\): it is wrong, or has"),
    ],
)
def test_what_the_hub_refuses_is_the_users_to_mend(
    make_hub: Make, root: Path, name: str, revision: str, token: str, message: str
) -> None:
    tiny = tiny_model()
    running = make_hub(
        open=tiny,
        gated=Repo(tiny.files, tiny.lfs, gated=True),
        private=Repo(tiny.files, tiny.lfs, private=True),
    )
    failed = failing(running, root, Wanted(f"tiny-org/{name}", revision), token)
    assert failed.failure is FailureClass.USER
    with pytest.raises(StepFailure, match=message):
        raise failed
    assert "hf_" not in str(failed)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("stall", after=100_000)],
        [Fault("cut", after=100_000), Fault("cut", after=50_000)],
        [Fault("status", status=429)],
    ],
)
def test_a_line_that_breaks_is_tried_again(make_hub: Make, root: Path, faults: list[Fault]) -> None:
    running = make_hub()
    running.hub.faults[WEIGHTS] = deque(faults)
    bring(running, root)
    assert lying(root) == tiny_model().files


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("stall", after=10), "keeps the file, has sent nothing for 2 s"),
        (Fault("cut", after=10), "broke"),
        (Fault("short", after=1000), "1000 bytes of 300000 came"),
        (Fault("wrong"), "its hash is another"),
        (Fault("status", status=503), "answers 503"),
    ],
)
def test_what_may_pass_is_left_to_another_try(
    make_hub: Make, root: Path, fault: Fault, message: str
) -> None:
    running = make_hub()
    running.hub.faults[WEIGHTS] = deque([fault] * 10)
    failed = failing(running, root)
    assert failed.failure is FailureClass.ENVIRONMENT
    assert message in str(failed)
    running.hub.faults.clear()
    bring(running, root)
    assert lying(root) == tiny_model().files


def test_silence_is_counted_in_seconds_over_all_tries(make_hub: Make, root: Path) -> None:
    """However often huggingface_hub would ask again: a listing it waits for without an end."""
    running = make_hub()
    running.hub.faults[TREE] = deque([Fault("stall")] * 10)
    failed = failing(running, root)
    assert failed.failure is FailureClass.ENVIRONMENT
    assert str(failed) == f"{running.url} has sent nothing for 2 s."
    assert running.hub.trees == 2
    # Two tries of a second, though each begins with a little.
    running.hub.faults = {WEIGHTS: deque([Fault("stall", after=1000)] * 10)}
    failing(running, root)
    assert [each.begin for each in running.hub.seen if each.path == WEIGHTS] == [0, 1000]


def test_a_line_that_breaks_all_the_time_and_gets_on_is_not_given_up(
    make_hub: Make, root: Path
) -> None:
    large = tiny_model(600_000)
    running = make_hub(**{"tiny-model": large})
    running.hub.faults[WEIGHTS] = deque([Fault("cut", after=70_000)] * 8)
    running.hub.faults["tiny.gguf"] = deque([Fault("cut", after=1)] * 5)
    bring(running, root)
    assert lying(root) == large.files
    # No byte came twice.
    assert running.hub.sent() == large.sizes()


def test_a_line_that_is_slow_is_not_given_up(make_hub: Make, root: Path) -> None:
    running = make_hub()
    pieces = 5
    assert (pieces - 1) * PAUSE_S > silence.SILENT_S > 2 * PAUSE_S
    running.hub.faults[WEIGHTS] = deque([Fault("slow", after=300_000 // pieces)])
    bring(running, root)
    assert lying(root) == tiny_model().files
    assert [each.begin for each in running.hub.seen if each.path == WEIGHTS] == [0]


def test_a_hub_that_is_away_is_told(make_hub: Make, root: Path) -> None:
    running = make_hub()
    running.stop()
    failed = failing(running, root)
    assert failed.failure is FailureClass.ENVIRONMENT
    assert f"{running.url} cannot be reached" in str(failed)


def test_half_a_download_never_counts_and_is_gone_on_with(make_hub: Make, root: Path) -> None:
    """Killed as Kubernetes kills what outstays its grace: at any moment, without a word."""
    large = tiny_model(24 * MIB)
    running = make_hub(**{"tiny-model": large})
    running.hub.faults[WEIGHTS] = deque([Fault("stall", after=13 * MIB)])
    words = ["--repo", TINY, "--revision", COMMIT, "--endpoint", running.url, "--into", str(root)]
    command = [sys.executable, "-m", "llmatrix", "model", "download", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder = root / WANTED.folder

    def others_there() -> bool:
        partial = list(folder.glob(".llmatrix-partial/*"))
        return [each.stat().st_size for each in partial] == [13 * MIB] and len(lying(root)) == 6

    try:
        assert until(others_there, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert Volume(root).whole(WANTED) is None
    before = {path: sent for path, sent in running.hub.sent().items() if path != WEIGHTS}
    bring(running, root)
    assert lying(root) == large.files
    assert [each.begin for each in running.hub.seen if each.path == WEIGHTS] == [0, 13 * MIB]
    after = {path: sent for path, sent in running.hub.sent().items() if path != WEIGHTS}
    assert after == before  # nothing else came twice


def test_a_server_that_knows_no_ranges_sends_it_again(make_hub: Make, root: Path) -> None:
    running, said = make_hub(), list[str]()
    running.hub.faults[WEIGHTS] = deque([Fault("cut", after=0)] * 10)
    failing(running, root)
    sha256 = hashlib.sha256(tiny_model().files[WEIGHTS]).hexdigest()
    (only,) = (root / WANTED.folder / ".llmatrix-partial").glob(f"{sha256}-*")
    only.write_bytes(b"?" * 1000)
    running.hub.faults[WEIGHTS] = deque([Fault("no-range")])
    bring(running, root, said=said)
    assert lying(root) == tiny_model().files


def test_a_file_that_is_lost_comes_again(make_hub: Make, root: Path) -> None:
    running = make_hub()
    bring(running, root)
    (root / WANTED.folder / WEIGHTS).unlink()
    assert bring(running, root).downloaded_bytes == 300_000
    assert lying(root) == tiny_model().files


def test_whoever_stops_it_is_obeyed(make_hub: Make, root: Path) -> None:
    running, stop = make_hub(), threading.Event()
    running.hub.faults[WEIGHTS] = deque([Fault("stall", after=10)] * 10)
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Stopped):
        download(
            Source(WANTED, running.url),
            Volume(root),
            path="",
            makes_room=False,
            stop=stop,
        )


def test_two_downloads_at_once_are_one(make_hub: Make, root: Path) -> None:
    running, done = make_hub(), list[told.Done]()
    threads = [threading.Thread(target=lambda: done.append(bring(running, root))) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each.downloaded_bytes > 0 for each in done) == [False, True]
    assert running.hub.trees == 1


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A volume of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["/usr/bin/umount", str(place)], check=True)


def test_a_volume_without_room_is_told_before_anything_comes(make_hub: Make, small: Path) -> None:
    running = make_hub(**{"tiny-model": tiny_model(4 * MIB)})
    failed = failing(running, small)
    assert failed.failure is FailureClass.USER
    assert "needs 5.3 MiB, 5.3 MiB of it are yet to come, and 2.0 MiB of 2.0 MiB" in str(failed)
    assert "stack.model.size to 1Gi or more" in str(failed)
    assert running.hub.seen == []


def test_a_volume_that_fills_up_is_told(
    make_hub: Make, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Volume, "free", lambda _: 2**40)
    failed = failing(make_hub(**{"tiny-model": tiny_model(4 * MIB)}), small)
    assert failed.failure is FailureClass.USER
    assert "the volume is full: tiny-org/tiny-model needs 5.3 MiB" in str(failed)


def test_other_models_go_only_where_they_may_and_only_if_that_helps(
    make_hub: Make, small: Path
) -> None:
    first = Repo({"w": b"a" * MIB}, frozenset({"w"}))
    running = make_hub(
        first=first,
        second=Repo({"w": b"b" * int(1.3 * MIB)}, frozenset({"w"})),
        third=Repo({"w": b"c" * 3 * MIB}, frozenset({"w"})),
    )
    one, two, three = (Wanted(f"tiny-org/{name}", COMMIT) for name in ("first", "second", "third"))
    bring(running, small, one)
    failed = failing(running, small, two)
    assert "other models take 1.0 MiB" in str(failed)
    assert Volume(small).whole(one) is not None
    with pytest.raises(StepFailure, match="the volume is full"):
        bring(running, small, three, makes_room=True)
    assert Volume(small).whole(one) is not None
    bring(running, small, two, makes_room=True)
    assert Volume(small).whole(one) is None
    assert Volume(small).whole(two) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_volume_that_cannot_be_written_is_told(make_hub: Make, root: Path) -> None:
    root.chmod(0o555)
    assert "the volume cannot be written" in str(failing(make_hub(), root))
