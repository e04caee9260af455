"""What the package exports: adding to it is a decision, so it is pinned here."""

from __future__ import annotations

import llmatrix


def test_the_package_exports_its_version_and_the_dataset_and_nothing_else() -> None:
    assert llmatrix.__all__ == ["__version__", "load"]
    assert llmatrix.__version__ == "0.1.0"
    assert llmatrix.__doc__ == "Plan, run and judge LLM-serving experiments."
