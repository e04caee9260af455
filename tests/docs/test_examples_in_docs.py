"""Each ```yaml block whose first line is ``# experiment`` is an experiment file that loads."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import pytest

from llmatrix.errors import SpecError
from llmatrix.spec.load import load

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```yaml\n(\1# experiment\n.*?)^\1```", re.MULTILINE | re.DOTALL)


def experiments(page: str) -> list[tuple[int, str]]:
    """Give the experiments on a page with the lines at which they begin."""
    return [
        (page.count("\n", 0, match.start()) + 2, textwrap.dedent(match[2]))
        for match in BLOCK.finditer(page)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds the picker configurations of the examples, as a reader's would."""
    shutil.copytree(ROOT / "examples" / "router", tmp_path / "router")
    return tmp_path


def test_every_experiment_on_every_page_loads(pages: dict[Path, str], folder: Path) -> None:
    wrong = []
    count = 0
    for page, text in pages.items():
        for line, experiment in experiments(text):
            count += 1
            file = folder / "experiment.yaml"
            file.write_text(experiment, encoding="utf-8")
            try:
                load(file)
            except SpecError as error:
                wrong.append(f"{page.relative_to(ROOT)}, block at line {line}: {error}")
    assert wrong == []
    assert count >= 5


def test_only_marked_blocks_are_taken() -> None:
    marked = "```yaml\n# experiment\nname: a\n```\n"
    page = f"x\n{marked}```yaml\nname: b\n```\n{textwrap.indent(marked, '  ')}"
    assert experiments(page) == [
        (3, "# experiment\nname: a\n"),
        (10, "# experiment\nname: a\n"),
    ]
