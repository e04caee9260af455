"""Make the README's picture: the quickstart, measured here, its report, a screenshot of its top.

    .venv/bin/python docs/picture.py [EXPERIMENT]

EXPERIMENT is the folder of a quickstart that was measured before; without it, it is measured now
(a minute and a half). Needs Chromium; with the font Inter the picture looks as the page is meant
to look.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = ROOT / "docs/images/report.png"
SIZE: Final = (1280, 1745)
MOST_BYTES: Final = 300_000
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main() -> int:
    """Write the picture; give the exit code."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.stderr.write("no Chromium on this machine: the picture is left as it is\n")
        return 3
    llmatrix = str(Path(sys.executable).with_name("llmatrix"))
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) / "results"
        measured = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else store / "quickstart"
        if len(sys.argv) == 1:
            file = ROOT / "examples/quickstart.yaml"
            subprocess.run(
                [llmatrix, "run", str(file), "--set", f"results.store={store}"], check=True
            )
        page = Path(temporary) / "report.html"
        made = [llmatrix, "report", str(measured), "-o", str(page)]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        photograph(browser, page, Path(temporary))
    size = PICTURE.stat().st_size
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}: {size / 1000:.0f} kB\n")
    return int(size > MOST_BYTES)


def photograph(browser: str, page: Path, profile: Path) -> None:
    """Write what a browser of ``SIZE`` shows of the page, once it has drawn everything."""
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={profile / 'browser'}",
            "--virtual-time-budget=20000",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={PICTURE}",
            page.as_uri(),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main())
