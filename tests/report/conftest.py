"""Summaries of synthetic experiments, and a real browser to look at their page."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from llmatrix.columns import SERVER_COLUMNS, arrow_schema
from llmatrix.report.summary import Summary
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.records import write_record
from llmatrix.stacks.waiting import until

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ERRANDS = re.compile(r"https?://([\w-]+\.)*(google|googleapis|gvt1)\.com/")
"""What the browser asks for on its own account, whatever page is open."""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
    "--dump-dom",
]


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
            sink = io.BytesIO()
            parquet.write_table(table, sink)
            folder = f"{data.experiment}/{record.trial}"
            kept = {"requests.parquet": data.store.get(f"{folder}/requests.parquet")}
            write_record(data.store, record, kept | {"server.parquet": sink.getvalue()})
        return Summary(load(data.store, data.experiment))

    return add


@pytest.fixture
def browser() -> str:
    """Find a real browser; skips where there is none."""
    found = next((found for name in BROWSERS if (found := shutil.which(name))), None)
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


class Tab:
    """A real browser with one page, that stays open: what a reader does is done in it.

    It is asked over its debugging pipe (Chrome DevTools Protocol).
    """

    def __init__(self, browser: str, profile: Path) -> None:
        ours, self._out = os.pipe()
        self._in, theirs = os.pipe()
        flags = [flag for flag in FLAGS if not flag.startswith(("--virtual", "--dump", "--enable"))]
        command = [browser, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        # The browser reads orders from descriptor 3 and answers on 4. (Not every `sh` knows
        # descriptors of two digits.)
        shell = ["bash", "-c", f'exec "$@" 3<&{ours} 4>&{theirs}', "bash", *command]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(shell, pass_fds=(ours, theirs), stdout=quiet, stderr=quiet)
        os.close(ours)
        os.close(theirs)
        self._answers = os.fdopen(self._in, "rb")
        self._count = 0
        self._session: str | None = None
        self.said: list[str] = []
        """What the page wrote on the console, its uncaught errors included."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.ask("Runtime.enable")
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Give one order to the browser, and give its answer."""
        self._count += 1
        order = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._out, json.dumps(order).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("method") in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
                self.said.append(json.dumps(answer["params"]))
            if answer.get("id") == self._count:
                result: dict[str, Any] = answer.get("result", {})
                return result

    def _read(self) -> bytes:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser ended")
            parts += byte
        return bytes(parts)

    def open(self, url: str) -> None:
        """Open a page and wait until its pictures are drawn."""
        self.ask("Page.navigate", url=url)
        self.until("document.documentElement.dataset.drawn")

    def tell(self, expression: str) -> Any:
        """Give the value of an expression in the page; None while the page is being replaced."""
        how = {"returnByValue": True, "awaitPromise": True}
        answer = self.ask("Runtime.evaluate", expression=expression, **how)
        return answer.get("result", {}).get("value")

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

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        self._answers.close()
        os.close(self._out)


@pytest.fixture
def tab(browser: str, tmp_path: Path) -> Iterator[Tab]:
    """A browser that stays open until the test ends."""
    opened = Tab(browser, tmp_path / "profile")
    yield opened
    opened.close()
