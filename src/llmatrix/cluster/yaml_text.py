"""Objects written as YAML that kubectl reads as it was meant, and people can compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import yaml

_PLAIN: Final = re.compile(r"(?!(?i:[yn])$)[A-Za-z][^\n]*")
"""Texts that no reader takes for a number or a truth value. Go's takes `12e34567` for a number, and
`y` for true, which Python's does not."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) else "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _written_out(dumper: yaml.SafeDumper, data: Any) -> bool:
    """Have every value written out: an anchor would change far from where something changed."""
    del dumper, data
    return True


def _quoting() -> type[yaml.SafeDumper]:
    """Make a writer of YAML; libyaml's where there is one."""
    base = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    dumper = cast("type[yaml.SafeDumper]", type("Quoting", (base,), {}))
    dumper.add_representer(str, _text_node)
    dumper.ignore_aliases = _written_out  # type: ignore[method-assign,assignment]
    return dumper


_DUMPER: Final = _quoting()


def text(documents: Sequence[Any]) -> str:
    """Write documents, each with a start of its own: files put one after another stay several."""
    return yaml.dump_all(
        documents,
        Dumper=_DUMPER,
        sort_keys=False,
        width=100,
        allow_unicode=True,
        explicit_start=True,
    )
