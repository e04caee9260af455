from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmatrix.cli.report import command as report
from llmatrix.errors import StoreFault, UserError
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore, open_store
from llmatrix.results.object_address import Patience, parse
from llmatrix.results.objects import ObjectStore
from llmatrix.results.places import find_experiment
from llmatrix.results.store import Store

Upload = Callable[[Path, Store], None]
SLOWEST = "SELECT trial, count(*), max(ttft_ms) FROM requests GROUP BY trial ORDER BY trial"


@pytest.fixture
def experiment(synthesize: Callable[[Any], Path], synthetic: Callable[..., Any]) -> Path:
    return synthesize(synthetic(replicates=2, requests=3000))


def test_the_tables_are_those_of_the_folder(
    experiment: Path, object_store: Callable[..., ObjectStore], upload_folder: Upload
) -> None:
    store = object_store(fail=0.1)
    upload_folder(experiment, store)
    here, there = load(FolderStore(experiment.parent), experiment.name), load(store, "synthetic")
    assert there.trials() == here.trials()
    with here.connect() as one, there.connect() as other:
        assert other.execute(SLOWEST).fetchall() == one.execute(SLOWEST).fetchall()
        columns = "SELECT * FROM requests LIMIT 0"
        names = [[c[0] for c in part.execute(columns).description or ()] for part in (one, other)]
    assert sorted(names[0]) == sorted(names[1])


def test_a_query_fetches_the_columns_that_it_names(
    experiment: Path,
    bucket: str,
    proxy: Callable[..., Any],
    quick: Patience,
    upload_folder: Upload,
) -> None:
    between = proxy()
    store = ObjectStore(parse(f"s3://{bucket}?endpoint=http://127.0.0.1:{between.port}"), quick)
    upload_folder(experiment, store)
    whole = sum(path.stat().st_size for path in experiment.glob("*/requests.parquet"))
    data = load(store, experiment.name)
    between.sent = 0
    with data.connect() as connection:
        assert connection.execute("SELECT max(status) FROM requests").fetchall() == [(200,)]
    assert between.sent < whole / 2


def test_lost_and_torn_requests_are_told_and_the_others_are_read(
    experiment: Path, object_store: Callable[..., ObjectStore], upload_folder: Upload
) -> None:
    store = object_store()
    upload_folder(experiment, store)
    first, second, *_ = (n for n in store.names() if n.endswith("requests.parquet"))
    store.delete(first)
    store.put(second, store.get(second)[:-9])
    data = load(store, experiment.name)
    lost, torn = sorted(data.request_problems())
    assert f"{store.url}/{first}: is missing" in lost
    assert "where its record says" in torn
    with data.connect() as connection:
        found = connection.execute("SELECT count(DISTINCT trial) FROM requests").fetchall()
    assert found == [(10,)]


def test_a_report_is_made_from_a_url(
    experiment: Path,
    object_store: Callable[..., ObjectStore],
    upload_folder: Upload,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = object_store()
    upload_folder(experiment, store)
    monkeypatch.chdir(tmp_path)
    for url in (store.url, f"{store.url}/synthetic"):
        result = CliRunner().invoke(report, [url])
        assert result.exit_code == 0, result.output
        assert "12 trials measured: 12 valid" in result.output
        assert result.output.splitlines()[-1] == "synthetic.html"
        assert store.url in (tmp_path / "synthetic.html").read_text()


def test_an_experiment_is_found_by_its_url_or_its_stores(
    object_store: Callable[..., ObjectStore], bucket: str, tmp_path: Path
) -> None:
    store = object_store()
    with pytest.raises(UserError, match="holds no trial yet"):
        find_experiment(store.url, command="llmatrix report")
    store.put("one/t/record.json", b"{}")
    store.put("notes/x", b"")
    for url in (store.url, f"{store.url}/one", f"{store.url}/one/"):
        found, name = find_experiment(url, command="llmatrix report")
        assert (found.url, name) == (store.url, "one")
    store.put("two/experiment.json", b"{}")
    with pytest.raises(UserError, match=f"llmatrix report {store.url}/two"):
        find_experiment(store.url, command="llmatrix report")
    top = open_store(f"s3://{bucket}", folder=tmp_path)
    top.put("three/experiment.json", b"{}")
    assert find_experiment(f"s3://{bucket}/three", command="x")[1] == "three"
    with pytest.raises(StoreFault, match="there is no bucket"):
        find_experiment(f"s3://{bucket}-other", command="x")
