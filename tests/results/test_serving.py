"""Records over HTTP from a folder: whole files, sizes by prefix, nothing without the token."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from llmatrix.errors import UserError
from llmatrix.results import places
from llmatrix.results.folder import FolderStore
from llmatrix.results.serving import RecordsServer

TOKEN = "0123456789abcdef"  # noqa: S105 - of a test


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    store = FolderStore(tmp_path)
    store.put("e/one/record.json", b"{}")
    store.put("e/one/requests.parquet", bytes(range(256)) * 4096)
    store.put("f/two/record.json", b"[]")
    (tmp_path.parent / "secret").write_text("not yours")
    with RecordsServer(("127.0.0.1", 0), store, TOKEN) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def ask(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of this machine
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_sizes_and_files_are_handed_out_whole(url: str) -> None:
    status, body = ask(f"{url}/{TOKEN}/sizes?prefix=e/")
    assert status == 200
    assert orjson.loads(body) == {"e/one/record.json": 2, "e/one/requests.parquet": 1024 * 1024}
    status, body = ask(f"{url}/{TOKEN}/file/e/one/requests.parquet")
    assert (status, body) == (200, bytes(range(256)) * 4096)
    assert len(orjson.loads(ask(f"{url}/{TOKEN}/sizes")[1])) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/sizes",
        "//sizes",
        "/wrong/sizes",
        f"/{TOKEN}",
        f"/{TOKEN}/else",
        f"/{TOKEN}/file/e/none",
        f"/{TOKEN}/file/e",
    ],
)
def test_what_is_not_there_or_not_ours_to_tell_is_not_found(url: str, path: str) -> None:
    assert ask(url + path)[0] == 404


@pytest.mark.parametrize("name", ["../secret", "%2e%2e/secret", "e/../../secret", "/etc/passwd"])
def test_no_name_leads_out(url: str, name: str) -> None:
    status, body = ask(f"{url}/{TOKEN}/file/{name}")
    assert status in {400, 404}
    assert b"not yours" not in body
    assert b"root:" not in body


def test_an_experiment_on_a_claim_is_found_by_its_name_or_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = FolderStore(tmp_path)
    claim.put("one/experiment.json", b"{}")
    opened = []

    def opens(url: str, *, folder: Path) -> FolderStore:
        del folder
        opened.append(url)
        return claim

    monkeypatch.setattr(places, "open_store", opens)
    for place in ("pvc://bench/kept", "pvc://bench/kept/", "pvc://bench/kept/one"):
        assert places.find_experiment(place, command="llmatrix pull") == (claim, "one")
    with pytest.raises(UserError, match="holds no experiment 'two'"):
        places.find_experiment("pvc://bench/kept/two", command="llmatrix pull")
    assert set(opened) == {"pvc://bench/kept"}
