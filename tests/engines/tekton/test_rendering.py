"""Compiled objects as text that kubectl reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llmatrix.engines.tekton.compile import Compiled
from llmatrix.engines.tekton.rendering import _text, commands, files

CompiledOf = Callable[..., Compiled]


@pytest.mark.parametrize("word", ["12e34567", "0o7", "1_000", ".5", "-x", "y", "N", "no", "~", ""])
def test_what_another_reader_takes_for_more_than_text_is_quoted(word: str) -> None:
    # kubectl reads with Go's YAML, which takes `12e34567` for a number and `y` for true.
    written = _text([{"a": word, "b": [word]}], "# made", []).replace("'", '"')
    assert written.splitlines()[2:] == [f'a: "{word}"', "b:", f'- "{word}"']


@pytest.mark.parametrize("word", ["llmatrix", "$(params.orders)", "a: b", "two\nlines", "x # y"])
def test_every_text_is_read_as_it_was_written(word: str) -> None:
    assert yaml.safe_load(_text([{word: word}], "# made", [])) == {word: word}


def test_no_option_ends_the_comment_on_top(compiled_of: CompiledOf) -> None:
    made = compiled_of({"workload.question_len": [1, 2]})
    written = files(made, ["e.yaml", "--set", "model.name=x\nkind: Evil\x85kind: Worse"])
    for text in written.values():
        assert all(line[0] == "#" or "Evil" not in line for line in text.splitlines())
        assert {d["kind"] for d in yaml.safe_load_all(text)}.isdisjoint({"Evil", "Worse"})


def test_the_commands_name_every_file_but_the_submitters(compiled_of: CompiledOf) -> None:
    for changes in ({}, {"results": {"store": "s3://bucket"}}, {"run": {"parallelism": 2}}):
        made = compiled_of({"workload.question_len": [1, 2]}, **changes)
        said = " ".join(commands(made, Path("a folder")))
        for name in files(made, []):
            several = len(made.pipelineruns) > 1 and name.startswith("pipelinerun-")
            named = "'a folder'/pipelinerun-*.yaml" if several else f"'a folder/{name}'"
            assert (named in said) is (name != "submitter.yaml"), name


def test_files_put_one_after_another_stay_several_documents(compiled_of: CompiledOf) -> None:
    made = compiled_of({"workload.question_len": [1, 2]}, run={"parallelism": 2})
    written = files(made, ["e.yaml"])
    together = "".join(text for name, text in written.items() if name.startswith("pipelinerun-"))
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(together)]
    assert names == [run["metadata"]["name"] for (run,) in made.pipelineruns]
