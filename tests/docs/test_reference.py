from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

from llmatrix.analysis.definitions import METRICS
from llmatrix.results.manifest import Manifest
from llmatrix.results.record import Failure, Record

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_every_generated_part_is_as_the_code_says(generate: ModuleType) -> None:
    stale = [str(path.relative_to(ROOT)) for path, _ in generate.stale()]
    assert not stale, f"{', '.join(stale)}: stale; run: .venv/bin/python docs/generate.py"


def test_every_part_stands_on_a_page(generate: ModuleType, pages: dict[Path, str]) -> None:
    used = {name for page in pages.values() for name in generate.names_in(page)}
    # A treatment's sections are described one by one.
    assert set(generate.PARTS) - used == {"section Treatment"}


def test_a_stale_page_is_told_and_rewritten(generate: ModuleType) -> None:
    page = "by hand\n<!-- generated: metrics -->\nold\n<!-- end -->\nby hand too\n"
    fresh = generate.fresh(page)
    assert "old" not in fresh
    assert all(f"`{name}`" in fresh for name in METRICS)
    assert fresh.startswith("by hand\n")
    assert fresh.endswith("\nby hand too\n")
    assert generate.fresh(fresh) == fresh


def test_the_program_checks_without_writing() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_field_of_what_a_trial_leaves_is_described() -> None:
    page = (REFERENCE / "records.md").read_text(encoding="utf-8")
    fields = [*Record.model_fields, *Failure.model_fields, *Manifest.model_fields]
    assert [name for name in fields if f"`{name}`" not in page] == []


def test_every_check_is_explained_with_what_to_change(generate: ModuleType) -> None:
    page = (ROOT / "docs" / "how-to" / "trust-a-figure.md").read_text(encoding="utf-8")
    reference = (REFERENCE / "checks.md").read_text(encoding="utf-8")
    names = [line.split("`")[1] for line in generate.checks().splitlines()[2:]]
    assert len(names) > 10
    assert [name for name in names if f"\n### {name}\n" not in page] == []
    assert [name for name in names if reference.count(f"| `{name}` |") < 2] == []


def test_every_field_that_a_user_writes_has_a_meaning(generate: ModuleType) -> None:
    silent = [
        f"{name}.{field}"
        for name, model in generate.SECTIONS.items()
        for field in model.model_fields
        if field != "kind" and not generate.meanings(model).get(field)
    ]
    assert silent == []
