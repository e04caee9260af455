"""The served page in a real browser: it follows the records, and nobody reloads it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Record
from llmatrix.results.records import write_record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Shape = Callable[..., Any]
RecordOf = Callable[..., Record]
DRAWN = "document.documentElement.dataset.drawn"
CHIPS = "(document.querySelector('.chips')?.innerText ?? '')"
WITHOUT_KV = "document.getElementById('filtered')?.textContent === ' (4 of 6)'"


@pytest.fixture
def folder(synthesize: Callable[[Any], Path], synthetic: Shape) -> Path:
    return synthesize(synthetic(replicates=1, requests=20))


@pytest.fixture
def url(place: Any, folder: Path) -> Iterator[str]:
    """Serve the folder by the command, as a user does; give the address that it tells."""
    process = place.start("view", str(folder), "--port", "0")
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


@pytest.fixture
def arrive(folder: Path, record_of: RecordOf, synthetic: Shape) -> Callable[..., None]:
    """Write one more record, as a run does: one more replicate of a treatment that is there."""

    def write(number: int, **changes: Any) -> None:
        levels = {"stack.router.config": "none", "workload.question_len": "100"}
        record = record_of(synthetic(), number, levels, number, **changes)
        requests = next(folder.glob("*/requests.parquet")).read_bytes()
        write_record(FolderStore(folder.parent), record, {"requests.parquet": requests})

    return write


def test_the_page_follows_the_records_by_itself(
    tab: Any, url: str, folder: Path, arrive: Callable[..., None]
) -> None:
    tab.open(url)
    assert "6 valid trials" in tab.tell(CHIPS)
    assert tab.tell("document.querySelectorAll('#trials-table tbody tr').length") == 6

    arrive(1)
    tab.until(f"{CHIPS}.includes('7 valid trials') && {DRAWN}")
    assert tab.tell("document.querySelectorAll('#trials-table tbody tr').length") == 7

    failed = Check("dispatch_lag_ms_p99", 12.5, "<= 5 ms", Verdict.FAIL, "send less")
    arrive(2, checks=[failed])
    tab.until(f"{CHIPS}.includes('1 invalid') && {DRAWN}")
    assert "7 valid trials" in tab.tell(CHIPS)
    assert "12.5" in tab.tell("document.getElementById('validity').innerText")

    # One that was whole is torn: the page stands, says so, and shows the others.
    victim = next(path for path in folder.glob("*/record.json") if "kv" in path.read_text())
    whole = victim.read_bytes()
    victim.write_bytes(whole[:100])
    tab.until(f"{CHIPS}.includes('6 valid trials') && {DRAWN}")
    assert "1 not readable" in tab.tell(CHIPS)
    assert "is not a whole JSON document" in tab.tell("document.body.innerText")
    assert tab.tell("document.querySelectorAll('figure:not([hidden]) svg').length") > 3

    victim.write_bytes(whole)
    tab.until(f"{CHIPS}.includes('7 valid trials') && {DRAWN}")
    assert "not readable" not in tab.tell(CHIPS)
    assert tab.said == []


def test_a_page_that_refreshes_stays_where_its_reader_was(
    tab: Any, url: str, arrive: Callable[..., None]
) -> None:
    tab.open(url)
    tab.tell(
        "[...document.querySelectorAll('#levels label')]"
        ".find((label) => label.textContent.trim() === 'kv').firstChild.click();"
        "const metric = document.getElementById('heatmap-metric');"
        "metric.value = [...metric.options].find((o) => o.text.startsWith('Output')).value;"
        "metric.dispatchEvent(new Event('change')); scrollTo(0, 700)"
    )
    tab.until(WITHOUT_KV)
    arrive(1)
    tab.until(f"{CHIPS}.includes('7 valid trials') && {WITHOUT_KV} && {DRAWN}")
    tab.until("scrollY > 600")
    chosen = "document.getElementById('heatmap-metric').selectedOptions[0].text"
    assert tab.tell(chosen).startswith("Output")
    assert tab.said == []


def test_a_trial_that_is_being_read_is_not_taken_away(
    tab: Any, url: str, arrive: Callable[..., None]
) -> None:
    tab.open(url)
    tab.tell("document.querySelector('#trials-table .open').click()")
    tab.until("document.querySelector('dialog[open]')?.innerText.includes('Its checks')")
    first = tab.tell("document.getElementById('live').dataset.version")
    arrive(1)
    tab.until(f"fetch('version').then((answer) => answer.text()).then((now) => now !== '{first}')")
    asked = "performance.getEntriesByType('resource').length"
    tab.until(f"{asked} > {tab.tell(asked) + 1}")  # the page has heard of it, too
    assert tab.tell("document.querySelector('dialog[open]') !== null")
    assert tab.tell("document.getElementById('live').dataset.version") == first
    tab.tell("document.querySelector('dialog[open] button').click()")
    tab.until(f"{CHIPS}.includes('7 valid trials') && {DRAWN}")


def test_when_the_server_ends_the_page_stands_and_says_so(
    place: Any, tab: Any, folder: Path
) -> None:
    process = place.start("view", str(folder), "--port", "0")
    tab.open(process.stdout.readline().split()[0])
    assert tab.tell("document.getElementById('live').textContent") == "live"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    tab.until("document.getElementById('live').textContent === 'no longer served'")
    assert "6 valid trials" in tab.tell(CHIPS)
    assert tab.tell("document.querySelectorAll('figure:not([hidden]) svg').length") > 3
