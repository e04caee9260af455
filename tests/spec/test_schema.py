from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # comes with altair; has no stubs
import pytest
import yaml
from click.testing import CliRunner

from llmatrix.cli.init import command as init
from llmatrix.cli.schema import command as schema
from llmatrix.errors import EnvironmentFault, UserError
from llmatrix.spec.load import Loaded, load
from llmatrix.spec.paths import every_path
from llmatrix.spec.schema import json_schema
from llmatrix.spec.source import read_source

Load = Callable[..., Loaded]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    document = json.loads(CliRunner().invoke(schema).output)
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def test_the_schema_takes_what_is_taken(
    validator: jsonschema.Draft202012Validator, text: str
) -> None:
    document = yaml.safe_load(text)
    validator.validate(document)
    del document["workload"]["output_len"]
    document["matrix"]["stack.args.parallel"] = [1, {"name": "two", "value": 2}]
    document["matrix"]["workload.load"] = [{"rate": "20/s"}, {"concurrency": 4}]
    document["matrix"]["include"] = [{"workload.duration": 5}, {"workload.duration": "5s"}]
    document["replicates"] = {"deployments": 2}
    validator.validate(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("stack", "replica"), 4),
        (("stack", "replicas"), "4"),
        (("stack", "replicas"), 0),
        (("stack", "kind"), "simulate"),
        (("workload", "load"), {"rate": 1, "concurrency": 1}),
        (("workload", "load", "arrivals"), "poison"),
        (("matrix", "stack.replica"), [1]),
        (("matrix", "workload.output_len"), 5),
        (("matrix", "workload.output_len"), []),
        (("matrix", "workload.output_len"), ["x"]),
        (("matrix", "run.seed"), [1]),
        (("matrix", "exclude"), [{"run.seed": 1}]),
        (("matrix", "include"), [{"workload.x": 1}]),
        (("name",), "../../x"),
        (("unknown",), 1),
        (("run", "engine"), "argo"),
    ],
)
def test_the_schema_refuses_what_is_refused(
    validator: jsonschema.Draft202012Validator, text: str, path: tuple[str, ...], value: Any
) -> None:
    document = yaml.safe_load(text)
    here = document
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    assert not validator.is_valid(document)


def test_every_factor_path_is_offered() -> None:
    offered = json_schema()["properties"]["matrix"]["properties"]
    assert {path for path, _ in every_path()} == set(offered) - {"include", "exclude"}
    assert offered["workload.output_len"]["description"] == "Tokens of each answer."


def test_the_examples_of_the_repository_are_taken(
    validator: jsonschema.Draft202012Validator,
) -> None:
    folder = Path(__file__).parents[2] / "examples"
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("llm-d/*.yaml")]):
        validator.validate(read_source(path).root.plain())


def run_init(*arguments: str) -> str:
    result = CliRunner().invoke(init, arguments)
    if result.exception:
        raise result.exception
    return result.output


def test_what_init_writes_loads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    validator: jsonschema.Draft202012Validator,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_init().splitlines() == [
        "wrote experiment.yaml",
        "wrote router/none.yaml",
        "wrote router/prefix.yaml",
        "wrote router/queue.yaml",
        "Next: llmatrix plan experiment.yaml",
    ]
    loaded = load(Path("experiment.yaml"))
    assert [len(factor.levels) for factor in loaded.factors] == [3, 2]
    validator.validate(read_source(Path("experiment.yaml")).root.plain())
    for level in loaded.factors[0].levels:
        picker = yaml.safe_load(level.value["text"])
        declared = {plugin["type"] for plugin in picker["plugins"]}
        (profile,) = picker["schedulingProfiles"]
        assert {plugin["pluginRef"] for plugin in profile["plugins"]} <= declared


def test_init_names_the_experiment_after_its_file(tmp_path: Path) -> None:
    run_init(str(tmp_path / "new/prefix-study.yaml"))
    assert load(tmp_path / "new/prefix-study.yaml").experiment.name == "prefix-study"
    run_init(str(tmp_path / "Study 1.yaml"))
    assert load(tmp_path / "Study 1.yaml").experiment.name == "experiment"


def test_init_overwrites_nothing_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("mine")
    with pytest.raises(UserError, match=r"e\.yaml is there already; give another name, or --force"):
        run_init(str(file))
    assert file.read_text() == "mine"
    assert not (tmp_path / "router").exists()
    run_init(str(file), "--force")
    assert load(file).experiment.name == "e"
    assert f"kept {file}" in run_init(str(file))


def test_init_says_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        run_init(str(tmp_path / "file/e.yaml"))
