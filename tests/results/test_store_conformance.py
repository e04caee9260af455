"""What every store does, run over every implementation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmatrix.errors import UserError
from llmatrix.results.folder import TEMPORARY, FolderStore
from llmatrix.results.store import Store

HOSTILE = [
    "../x",
    "a/../../x",
    "/etc/x",
    "a//b",
    "",
    ".",
    "a/.",
    "a\0b",
    "a\nb",
    "a\\b",
    "a/",
    "\ud800",
]

PART = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\"),
    min_size=1,
    max_size=20,
).filter(lambda part: part not in {".", ".."} and not part.startswith(TEMPORARY))


@pytest.fixture(params=["folder", "s3", "s3 that fails"])
def make_store(
    request: pytest.FixtureRequest, object_store: Callable[..., Store]
) -> Callable[[Path], Store]:
    """Make a fresh store of each kind; the last one's service fails nearly a third of calls."""
    if request.param == "folder":
        return lambda path: FolderStore(path / "store")
    trouble = {"fail": 0.3} if request.param.endswith("fails") else {}
    return lambda _: object_store(**trouble)


@pytest.fixture
def store(make_store: Callable[[Path], Store], tmp_path: Path) -> Store:
    return make_store(tmp_path)


def test_what_is_put_is_read_back(store: Store) -> None:
    store.put("e/t/record.json", b"one")
    assert store.get("e/t/record.json") == b"one"
    assert store.exists("e/t/record.json")
    assert store.local("e/t/record.json").read_bytes() == b"one"


def test_a_file_is_put_by_its_content(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    store.put("e/t/big", source)
    assert store.get("e/t/big") == source.read_bytes()


def test_putting_again_replaces(store: Store) -> None:
    store.put("e/a", b"a long first content")
    store.put("e/a", b"short")
    assert store.get("e/a") == b"short"
    assert list(store.names()) == ["e/a"]


def test_a_part_of_a_file_is_read(store: Store) -> None:
    content = bytes(range(256)) * 1000
    store.put("e/t/big", content)
    with store.open("e/t/big", buffer_bytes=1024) as file:
        file.seek(100_000)
        assert bytes(file.read(300)) == content[100_000:100_300]
        file.seek(0, 2)
        assert file.tell() == len(content)
        file.seek(0)
        assert bytes(file.read()) == content


def test_a_local_copy_follows_what_is_put(store: Store) -> None:
    store.put("e/t/a", b"one")
    first = store.local("e/t/a")
    assert first.read_bytes() == b"one"
    assert store.local("e/t/a") == first
    store.put("e/t/a", b"two")
    assert store.local("e/t/a").read_bytes() == b"two"
    store.delete("e/t/a")
    with pytest.raises(KeyError):
        store.local("e/t/a")


def test_what_is_not_there_is_a_key_error(store: Store) -> None:
    store.put("e/t/a", b"")
    for name in ("x", "e", "e/t", "e/t/a/b"):
        with pytest.raises(KeyError):
            store.get(name)
        with pytest.raises(KeyError):
            store.local(name)
        with pytest.raises(KeyError):
            store.open(name)
        assert not store.exists(name)


def test_an_untouched_store_is_empty(store: Store) -> None:
    assert list(store.names()) == []
    assert list(store.folders()) == []
    assert list(store.names("e/")) == []
    assert list(store.folders("e/")) == []


def test_names_come_in_order_and_by_prefix(store: Store) -> None:
    names = ["e/b/x", "e/a/y", "e/a-z/q", "e/a/x", "f/1", "e.txt"]
    for name in names:
        store.put(name, b"")
    assert list(store.names()) == sorted(names)
    assert list(store.names("e/a/")) == ["e/a/x", "e/a/y"]
    assert list(store.names("e/a")) == ["e/a-z/q", "e/a/x", "e/a/y"]
    assert list(store.names("e/a/x")) == ["e/a/x"]


def test_folders_are_those_right_under_a_prefix(store: Store) -> None:
    for name in ("e/b/x", "e/a/deep/x", "e/file", "f/1"):
        store.put(name, b"")
    assert list(store.folders()) == ["e", "f"]
    assert list(store.folders("e/")) == list(store.folders("e/", empty=True)) == ["a", "b"]


def test_deleting_removes_the_name_and_an_emptied_folder(store: Store) -> None:
    store.put("e/t/a", b"")
    store.delete("e/t/a")
    store.delete("e/t/a")
    store.delete("e/never/was")
    assert list(store.names()) == []
    assert list(store.folders("e/")) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_out_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    for deed in (
        lambda: store.put(name, b"x"),
        lambda: store.get(name),
        lambda: store.local(name),
        lambda: store.open(name),
        lambda: store.exists(name),
        lambda: store.delete(name),
    ):
        with pytest.raises(UserError, match="cannot be a name"):
            deed()
    assert sorted(tmp_path.rglob("*")) == before


@given(
    contents=st.dictionaries(
        st.tuples(PART, PART).map("/".join), st.binary(max_size=50), max_size=5
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_plain_name_is_kept(
    make_store: Callable[[Path], Store],
    tmp_path_factory: pytest.TempPathFactory,
    contents: dict[str, bytes],
) -> None:
    store = make_store(tmp_path_factory.mktemp("any"))
    for name, content in contents.items():
        store.put(name, content)
    assert {name: store.get(name) for name in store.names()} == contents
    assert list(store.names()) == sorted(contents)
    assert store.sizes() == {name: len(content) for name, content in contents.items()}


def test_two_writers_of_one_name_leave_one_whole_content(store: Store) -> None:
    contents = [bytes([number]) * 200_000 for number in range(4)]
    start = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        start.wait()
        for _ in range(10):
            store.put("e/t/x", content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if store.exists("e/t/x"):
            assert store.get("e/t/x") in contents
    for writer in writers:
        writer.join()
    assert list(store.names()) == ["e/t/x"]
