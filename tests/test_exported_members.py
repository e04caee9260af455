"""What the package exports: adding to it is a decision, so it is pinned here."""

from __future__ import annotations

import subprocess
import sys

import llmatrix


def test_the_package_exports_its_version_and_nothing_else() -> None:
    program = "import llmatrix; print(*sorted(vars(llmatrix)))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    public = {n for n in run.stdout.split() if not (n.startswith("__") and n.endswith("__"))}
    assert public == set()
    assert llmatrix.__version__ == "0.1.0"
    assert llmatrix.__doc__ == "Plan, run and judge LLM-serving experiments."
