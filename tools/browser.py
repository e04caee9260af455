"""A real browser with one page, spoken to over its debugging pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

QUIET: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without a screen, and without asking for anything on its own account."""
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser() -> str | None:
    """Give the program of a browser on this machine; None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Tab:
    """A browser that has just been started, and an empty page in it.

    Attributes:
        heard: what it told without being asked, in order.
    """

    def __init__(self, program: str, profile: Path, *flags: str) -> None:
        ours, self._out = os.pipe()
        self._in, theirs = os.pipe()
        command = [program, *QUIET, *flags]
        command += [f"--user-data-dir={profile}", "--remote-debugging-pipe"]
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
        self.heard: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Give one order to the browser, and give its answer.

        Raises:
            RuntimeError: the browser ended.
        """
        self._count += 1
        order = {"id": self._count, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._out, json.dumps(order).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._count:
                result: dict[str, Any] = answer.get("result", {})
                return result
            self.heard.append(answer)

    def open(self, url: str) -> None:
        """Begin to go to a page."""
        self.ask("Page.navigate", url=url)

    def tell(self, expression: str) -> Any:
        """Give the value of an expression in the page; None while the page is being replaced."""
        how = {"returnByValue": True, "awaitPromise": True}
        answer = self.ask("Runtime.evaluate", expression=expression, **how)
        return answer.get("result", {}).get("value")

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        self._answers.close()
        os.close(self._out)

    def _read(self) -> bytes:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser ended")
            parts += byte
        return bytes(parts)
