from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import StoreFault, UserError
from llmatrix.results.folder import open_store
from llmatrix.results.object_address import Patience, parse, profile
from llmatrix.results.object_cache import KEPT_S
from llmatrix.results.objects import ObjectStore
from llmatrix.results.records import read_record, write_record

MEGABYTES = os.urandom(1024) * 20 * 1024


@pytest.mark.parametrize(
    "trouble",
    [
        {"fail": 0.3},
        {"throttle": 0.3},
        {"cut_up": 0.3},
        {"cut_down": 0.3, "only": "GET"},
        {"fail": 0.1, "throttle": 0.1, "cut_up": 0.1},
        {"delay_s": 0.02},
    ],
    ids=str,
)
def test_trouble_of_the_service_passes_unseen(
    object_store: Callable[..., ObjectStore], trouble: dict[str, Any], tmp_path: Path
) -> None:
    store = object_store(**trouble)
    big = tmp_path / "big"
    big.write_bytes(MEGABYTES)
    contents = {f"e/t{number}/x": bytes([number]) * 30_000 for number in range(12)}
    for name, content in contents.items():
        store.put(name, content)
    store.put("e/big/requests.parquet", big)
    assert {name: store.get(name) for name in contents} == contents
    assert store.get("e/big/requests.parquet") == MEGABYTES
    assert store.local("e/big/requests.parquet").read_bytes() == MEGABYTES
    assert list(store.folders("e/")) == sorted({name.split("/")[1] for name in contents} | {"big"})


def test_a_service_that_keeps_failing_is_given_up_on(
    proxy: Callable[..., Any], bucket: str
) -> None:
    broken = proxy(deny=(500, "InternalError"))
    patience = Patience(retries=3, first_pause_s=0.001, most_pause_s=0.01, in_all_s=5, answer_s=5)
    store = ObjectStore(parse(f"s3://{bucket}?endpoint=http://127.0.0.1:{broken.port}"), patience)
    with pytest.raises(StoreFault, match=r"'e/a' could not be written: .* fails \(500\)"):
        store.put("e/a", b"x")
    assert len(broken.calls) == 4


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "AccessDenied", "give no right to do that in 'bucket-"),
        (403, "InvalidAccessKeyId", r"not accepted \(InvalidAccessKeyId\)"),
        (403, "SignatureDoesNotMatch", r"not accepted \(SignatureDoesNotMatch\)"),
        (400, "ExpiredToken", r"not accepted \(ExpiredToken\)"),
        (401, "Unauthorized", "not accepted"),
        (503, "SlowDown", r"turns calls away \(503\)"),
        (429, "TooManyRequests", r"turns calls away \(429\)"),
        (400, "AuthorizationHeaderMalformed", "another region; set AWS_REGION"),
        (404, "NoSuchBucket", "there is no bucket 'bucket-"),
    ],
)
def test_a_refusal_is_told_in_a_sentence(
    object_store: Callable[..., ObjectStore], status: int, code: str, told: str
) -> None:
    patience = Patience(retries=1, first_pause_s=0.001, most_pause_s=0.01, in_all_s=5, answer_s=5)
    store = object_store(patience, deny=(status, code))
    for deed in (
        lambda: store.put("e/a", b"x"),
        lambda: store.get("e/a"),
        lambda: store.local("e/a"),
        lambda: list(store.names()),
        lambda: list(store.folders("e/")),
    ):
        with pytest.raises(StoreFault, match=told) as caught:
            deed()
        assert "\n" not in str(caught.value)
        assert "secret-word" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told(bucket: str, quick: Patience) -> None:
    store = ObjectStore(parse(f"s3://{bucket}-other/p"), quick)
    for deed in (lambda: store.put("a", b""), lambda: store.get("a"), lambda: list(store.names())):
        with pytest.raises(StoreFault, match=f"there is no bucket '{bucket}-other'; make it"):
            deed()


def test_a_service_that_is_not_there_is_told(bucket: str) -> None:
    patience = Patience(retries=2, first_pause_s=0.001, most_pause_s=0.01, in_all_s=5, answer_s=5)
    store = ObjectStore(parse(f"s3://{bucket}?endpoint=http://127.0.0.1:1"), patience)
    with pytest.raises(StoreFault, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        store.put("a", b"")


def test_an_answer_that_does_not_come_is_told(object_store: Callable[..., ObjectStore]) -> None:
    patience = Patience(retries=1, first_pause_s=0.01, most_pause_s=0.01, in_all_s=2, answer_s=0.3)
    store = object_store(patience, delay_s=60)
    with pytest.raises(StoreFault, match="did not answer in time"):
        store.get("a")


def test_no_credentials_are_told(
    bucket: str, quick: Patience, monkeypatch: pytest.MonkeyPatch, proxy: Callable[..., Any]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", "/nonexistent")
    nobody = proxy(deny=(404, "NotFound"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{nobody.port}")
    with pytest.raises(StoreFault, match="no credentials were found; set AWS_ACCESS_KEY_ID"):
        ObjectStore(parse(f"s3://{bucket}"), quick).put("a", b"")


def test_azure_without_an_account_is_told(bucket: str, quick: Patience) -> None:
    del bucket
    with pytest.raises(StoreFault, match="account is not named; set AZURE_STORAGE_ACCOUNT_NAME"):
        ObjectStore(parse("az://results/team"), quick).put("a", b"")


@pytest.mark.parametrize("url", ["gs://results/team", "az://results/team", "s3://results"])
def test_every_kind_is_opened_by_its_url(
    url: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del bucket
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert open_store(url + "/", folder=tmp_path).url == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:word@bucket/x", "carries no credentials"),
        ("s3://", "names no store"),
        ("s3://ab", "names no store"),
        ("s3://b%20d$/x", "names no store"),
        ("s3://bucket?secret_access_key=word", "cannot take the setting 'secret_access_key'"),
        ("gs://bucket?endpoint=https://x", "only s3:// takes some"),
        ("s3://bucket?endpoint=localhost:9000", "endpoint is no address"),
        ("s3://bucket?endpoint=https://key:word@host", "endpoint is no address"),
    ],
)
def test_a_url_that_names_no_store_is_told(url: str, told: str) -> None:
    with pytest.raises(UserError, match=told.replace("?", r"\?")) as caught:
        parse(url)
    assert "word" not in str(caught.value).replace("'secret_access_key'", "")


def test_an_endpoint_in_the_url_needs_no_variable(
    bucket: str, s3_port: int, quick: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = f"s3://{bucket}/p?endpoint=http://127.0.0.1:{s3_port}&region=eu-west-1"
    store = ObjectStore(parse(url), quick)
    store.put("e/a", b"1")
    assert store.url == url
    assert store.get("e/a") == b"1"


def test_the_keys_of_a_profile_are_used(
    bucket: str, s3_port: int, quick: Patience, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = a\n[lab]\naws_access_key_id = k\n"
        "aws_secret_access_key = s%x\n"
    )
    (tmp_path / ".aws/config").write_text(
        f"[profile lab]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:{s3_port}\n"
    )
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    store = ObjectStore(parse(f"s3://{bucket}"), quick)
    store.put("a", b"1")
    assert store.get("a") == b"1"
    assert "region" not in profile({"HOME": str(tmp_path), "AWS_REGION": "x", "AWS_PROFILE": "lab"})
    assert profile({"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "k"}) == {}
    (tmp_path / ".aws/config").write_text("nonsense")
    with pytest.raises(UserError, match=r"\.aws/config: cannot be read"):
        profile({"HOME": str(tmp_path)})


def test_reading_a_part_fetches_only_that(
    bucket: str, proxy: Callable[..., Any], quick: Patience
) -> None:
    between = proxy()
    store = ObjectStore(parse(f"s3://{bucket}?endpoint=http://127.0.0.1:{between.port}"), quick)
    store.put("big", MEGABYTES)
    between.calls.clear()
    with store.open("big", buffer_bytes=4096) as file:
        file.seek(-100, 2)
        assert file.read() == MEGABYTES[-100:]
    assert [call.split()[0] for call in between.calls] == ["HEAD", "GET"]


def test_a_copy_is_fetched_once(bucket: str, proxy: Callable[..., Any], quick: Patience) -> None:
    between = proxy()
    url = f"s3://{bucket}?endpoint=http://127.0.0.1:{between.port}"
    ObjectStore(parse(url), quick).put("big", b"x" * 1000)
    path = ObjectStore(parse(url), quick).local("big")
    stamp = path.stat().st_ino
    assert ObjectStore(parse(url), quick).local("big") == path
    assert path.stat().st_ino == stamp


def test_copies_that_nobody_used_for_long_are_removed(
    object_store: Callable[..., ObjectStore],
) -> None:
    store = object_store()
    store.put("a", b"1")
    old = store.local("a")
    long_ago = old.stat().st_mtime - KEPT_S - 60
    os.utime(old, (long_ago, long_ago))
    again = ObjectStore(parse(store.url))
    store.put("b", b"2")
    again.local("b")
    assert not old.exists()


WRITER = """
    import itertools, os, sys
    from pathlib import Path
    from llmatrix.analysis.checks import Check
    from llmatrix.results.object_address import Patience
    from llmatrix.results.objects import ObjectStore, parse
    from llmatrix.results.record import Record
    from llmatrix.results.records import write_record
    store = ObjectStore(parse(sys.argv[1]))
    record = Record.model_validate_json(Path(sys.argv[2]).read_bytes())
    for number in itertools.count():
        trial = f"{number % 3:020}"
        mark = os.urandom(8)
        files = {"requests.parquet": mark * 1_500_000, "logs/a.log": mark * 1000}
        write_record(store, record.model_copy(update={"trial": trial}), files)
        print(trial, flush=True)
"""


@pytest.fixture
def upload(
    bucket: str,
    proxy: Callable[..., Any],
    tmp_path: Path,
    synthetic: Callable[..., Any],
    record_of: Callable[..., Any],
) -> tuple[Any, list[str]]:
    """Give the proxy that an upload goes through, and the command of the upload."""
    between = proxy(delay_s=0.002)
    document = tmp_path / "record.json"
    document.write_text(record_of(synthetic(name="e"), 0, {}, 0).model_dump_json())
    url = f"s3://{bucket}/p?endpoint=http://127.0.0.1:{between.port}"
    return between, [sys.executable, "-c", textwrap.dedent(WRITER), url, str(document)]


@pytest.mark.slow
def test_an_upload_killed_ten_times_leaves_every_record_whole_or_absent(
    upload: tuple[Any, list[str]], bucket: str, quick: Patience
) -> None:
    """Killed after a counted number of calls, so that every stage of an upload has its turn."""
    between, command = upload
    store = ObjectStore(parse(f"s3://{bucket}/p"), quick)
    whole = 0
    for kill in range(10):
        begun = len(between.calls)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as writer:
            enough = threading.Event()
            while len(between.calls) < begun + 3 + 2 * kill:
                assert writer.poll() is None
                enough.wait(0.002)
            writer.kill()
        whole += _check_records(store)
    assert whole > 0


def _check_records(store: ObjectStore) -> int:
    """Check every record that is there against its files; give how many there are."""
    found = 0
    for trial in store.folders("e/"):
        try:
            record = read_record(store, "e", trial)
        except KeyError:
            continue
        for name, stored in record.files.items():
            content = store.get(f"e/{trial}/{name}")
            assert stored.matches(content), f"{trial}/{name}"
        found += 1
    return found


def test_a_record_is_the_last_thing_written(
    bucket: str,
    proxy: Callable[..., Any],
    quick: Patience,
    synthetic: Callable[..., Any],
    record_of: Callable[..., Any],
) -> None:
    between = proxy()
    store = ObjectStore(parse(f"s3://{bucket}?endpoint=http://127.0.0.1:{between.port}"), quick)
    record = record_of(synthetic(name="e"), 0, {}, 0)
    write_record(store, record, {"requests.parquet": b"x" * 100, "logs/a": b"y"})
    puts = [call.split()[1] for call in between.calls if call.startswith("PUT")]
    assert puts[-1].endswith("/record.json")
    assert len(puts) == 3
    stored = store.get(f"e/{record.trial}/record.json")
    assert b"secret-word" not in stored
    assert b"tester" not in stored
