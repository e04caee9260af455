"""Summaries of synthetic experiments, and a real browser to look at their page."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from llmatrix.columns import SERVER_COLUMNS, arrow_schema
from llmatrix.report.summary import Summary
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.records import write_record
from llmatrix.stacks.waiting import until
from tools.browser import QUIET, Tab
from tools.browser import browser as installed
from tools.request_tables import parquet_bytes

ERRANDS = re.compile(r"https?://([\w-]+\.)*(google|googleapis|gvt1)\.com/")
"""What the browser asks for on its own account, whatever page is open."""
FLAGS = ("--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom")


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page."""

    dom: str
    console: list[str]
    requested: list[str]
    """Addresses on the network that the page asked for."""

    def figure(self, name: str) -> str:
        """Give the part of the document that is one figure."""
        found = re.search(rf'<figure id="fig-{name}".*?</figure>', self.dom, re.DOTALL)
        assert found is not None
        return found[0]

    def drawn(self, name: str) -> bool:
        """Tell whether a figure is shown and holds a drawing with marks."""
        figure = self.figure(name)
        return "hidden" not in figure.split(">", 1)[0] and "<svg" in figure and "<path" in figure


@pytest.fixture
def summarize(synthesize: Callable[[Any], Path]) -> Callable[[Any], Summary]:
    """Write a synthetic experiment and read it back as a summary."""

    def make(shape: Any) -> Summary:
        folder = synthesize(shape)
        return Summary(load(FolderStore(folder.parent), folder.name))

    return make


@pytest.fixture
def scrape() -> Callable[[Summary], Summary]:
    """Give every trial of a summary what two servers said of themselves over ten seconds."""

    def add(summary: Summary) -> Summary:
        data = summary.dataset
        for number, record in enumerate(data.records):
            rows = [
                {"at_s": at, "server": server, "metric": metric, "labels": "", "value": value}
                for at in (0.0, 5.0, 10.0)
                for server in ("10.0.0.1:8000", "10.0.0.2:8000")
                for metric, value in (
                    ("vllm:num_requests_running", number + at),
                    ("vllm:generation_tokens_total", 100 * at),
                    ("vllm:prefix_cache_queries_total", 10 * at),
                    ("vllm:prefix_cache_hits_total", 8 * at),
                    ("nobody:knows", 1.0),
                )
            ]
            table = pa.Table.from_pylist(rows, schema=arrow_schema(SERVER_COLUMNS))
            folder = f"{data.experiment}/{record.trial}"
            kept = {"requests.parquet": data.store.get(f"{folder}/requests.parquet")}
            write_record(data.store, record, kept | {"server.parquet": parquet_bytes(table)})
        return Summary(load(data.store, data.experiment))

    return add


@pytest.fixture
def browser() -> str:
    """Find a real browser; skips where there is none."""
    found = installed()
    if found is None:
        pytest.skip("no Chromium on this machine: the page is not looked at in a browser")
    return found


@pytest.fixture
def browse(browser: str, tmp_path: Path) -> Callable[..., Seen]:
    """Open a page in a real headless browser, and give what it made of it when it had drawn."""

    def look(html: str) -> Seen:
        page = tmp_path / "page.html"
        page.write_text(html, encoding="utf-8")
        log = tmp_path / "net.json"
        done = subprocess.run(
            [
                browser,
                *QUIET,
                *FLAGS,
                "--window-size=1280,900",
                f"--user-data-dir={tmp_path / 'browser'}",
                f"--log-net-log={log}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        asked = re.findall(r'"url":"((?:https?|wss?)://[^"]*)"', log.read_text(encoding="utf-8"))
        return Seen(done.stdout, console, [url for url in asked if not ERRANDS.match(url)])

    return look


class Reader(Tab):
    """A browser with one page, that stays open: what a reader does is done in it."""

    def __init__(self, program: str, profile: Path) -> None:
        super().__init__(program, profile)
        self.ask("Runtime.enable")
        self.ask("Page.enable")

    @property
    def said(self) -> list[str]:
        """What the page wrote on the console, its uncaught errors included."""
        wanted = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        return [json.dumps(each["params"]) for each in self.heard if each.get("method") in wanted]

    def open(self, url: str) -> None:
        """Open a page and wait until its pictures are drawn."""
        super().open(url)
        self.until("document.documentElement.dataset.drawn")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page; give its value."""
        found = until(lambda: self.tell(expression), 30.0)
        assert found, f"never true: {expression}\n{self.tell('document.body.innerText')}"
        return found

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key and let it go."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **pressed)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path) -> None:
        """Keep what is seen as a PNG, the whole page."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture
def tab(browser: str, tmp_path: Path) -> Iterator[Reader]:
    """A browser that stays open until the test ends."""
    opened = Reader(browser, tmp_path / "profile")
    yield opened
    opened.close()
