from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^\[[^\]]+\]:\s+<?(\S+?)>?\s*$", re.MULTILINE)
ATTRIBUTE = re.compile(r"\b(?:src|srcset|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links(page: str) -> list[str]:
    """Give what a page links to on this side of the network."""
    text = CODE.sub("code", FENCED.sub("", page))
    found = [link for pattern in (LINK, DEFINITION, ATTRIBUTE) for link in pattern.findall(text)]
    return [unquote(link) for link in found if not ELSEWHERE.match(link)]


def anchors(page: str) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(FENCED.sub("", page)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        names.add(f"{slug}-{count}" if count else slug)
    return names


def broken(file: Path, page: str, pages: dict[Path, str]) -> list[str]:
    """Give the links of a page that lead nowhere."""
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        there = target.is_relative_to(ROOT) and target.exists()
        known = not anchor or target not in pages or anchor in anchors(pages[target])
        if not (there and known):
            wrong.append(link)
    return wrong


def test_every_link_of_every_page_leads_somewhere(pages: dict[Path, str]) -> None:
    wrong = {
        str(file.relative_to(ROOT)): found
        for file, page in pages.items()
        if (found := broken(file, page, pages))
    }
    assert wrong == {}


def test_every_page_of_the_documentation_is_in_its_index(pages: dict[Path, str]) -> None:
    docs = ROOT / "docs"
    index = docs / "README.md"
    linked = {(docs / link.partition("#")[0]).resolve() for link in links(pages[index])}
    kinds = ("tutorial", "how-to", "reference", "explanation")
    expected = {file for file in pages if file.parent.parent == docs and file.parent.name in kinds}
    assert expected
    assert expected - linked == set()


def test_a_broken_link_is_found() -> None:
    there = ROOT / "docs" / "README.md"
    page = (
        "[a](README.md) [b](missing.md) ![c](missing.svg) [d](README.md#no-such-heading)\n"
        "`[e](in-code.md)` [f](https://example.org/x) [`g`](gone.md) [h]: x\n"
        '<img src="gone.png">\n```\n[i](in-block.md)\n```\n[j](../../../outside.md)\n'
    )
    found = broken(there, page, {there: "# Title\n"})
    assert found == [
        "missing.md",
        "missing.svg",
        "README.md#no-such-heading",
        "gone.md",
        "../../../outside.md",
        "gone.png",
    ]


def test_anchors_are_those_of_github() -> None:
    page = (
        "# The `trials` table, twice\n## stack.router\n## stack, kind endpoint\n## stack.router\n"
    )
    assert anchors(page) == {
        "the-trials-table-twice",
        "stackrouter",
        "stack-kind-endpoint",
        "stackrouter-1",
    }
