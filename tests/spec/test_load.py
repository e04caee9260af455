from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmatrix.errors import SpecError, UserError
from llmatrix.spec.experiment import Replicates
from llmatrix.spec.load import Loaded, assign, load, validate_section
from llmatrix.spec.stacks import ProcessStack, SimulatedStack

Load = Callable[..., Loaded]
Say = Callable[..., list[str]]


def labels(loaded: Loaded, path: str) -> list[str]:
    (factor,) = (factor for factor in loaded.factors if factor.path == path)
    return [level.label for level in factor.levels]


def with_matrix(text: str, *rows: str) -> str:
    """Give the experiment with another matrix; no rows, no matrix."""
    before, _, after = text.partition("matrix:")
    matrix = "".join(f"  {row}\n" for row in rows)
    rest = after.partition("replicates:")[2]
    return f"{before}{'matrix:' if rows else ''}\n{matrix}replicates:{rest}"


def with_stack(text: str, stack: str, *rows: str) -> str:
    before, _, after = with_matrix(text, *rows).partition("stack:")
    return f"{before}stack: {stack}\nworkload:{after.partition('workload:')[2]}"


def test_the_experiment_is_read_whole(load_text: Load, text: str) -> None:
    loaded = load_text(text)
    assert loaded.experiment.name == "pickers"
    assert loaded.experiment.replicates == 3
    assert loaded.experiment.slo.ttft_p99 == 0.5
    assert loaded.experiment.run.seed == 7
    assert [factor.path for factor in loaded.factors] == [
        "stack.router.config",
        "workload.output_len",
    ]
    assert labels(loaded, "stack.router.config") == ["none", "queue"]
    assert loaded.factors[0].levels[0].value == {
        "text": "plugins: [none]\n",
        "name": "router/none.yaml",
    }
    assert loaded.base["stack"]["router"]["config"]["text"] == "plugins: [queue]\n"
    assert loaded.base["workload"]["duration"] == "30s"
    (excluded,) = loaded.exclude
    assert excluded["stack.router.config"] is loaded.factors[0].levels[0]
    assert excluded["workload.output_len"].value == 300


def test_without_a_matrix_there_is_one_treatment(load_text: Load, text: str) -> None:
    loaded = load_text(with_matrix(text))
    assert not loaded.factors
    assert not loaded.include
    assert not loaded.exclude


def test_a_factor_may_give_what_the_base_document_lacks(load_text: Load, text: str) -> None:
    loaded = load_text(text.replace("  output_len: 100\n", ""))
    assert "output_len" not in loaded.base["workload"]


def test_include_alone_may_give_what_the_base_document_lacks(load_text: Load, text: str) -> None:
    short = with_matrix(text, "include: [{workload.output_len: 5}, {workload.output_len: 6}]")
    loaded = load_text(short.replace("  output_len: 100\n", ""))
    assert [entry["workload.output_len"].value for entry in loaded.include] == [5, 6]


def test_a_section_may_come_from_the_matrix_alone(load_text: Load, text: str) -> None:
    rows = ["model: [{name: a}, {name: b}]"]
    loaded = load_text(with_matrix(text, *rows).replace("model: {name: Qwen/Qwen3-0.6B}\n", ""))
    assert loaded.base["model"] == {}
    assert labels(loaded, "model") == ['{"name":"a"}', '{"name":"b"}']


def test_labels(load_text: Load, folder: Path, text: str) -> None:
    (folder / "other").mkdir()
    (folder / "other/none.yaml").write_text("plugins: [other]\n")
    loaded = load_text(
        with_matrix(
            text,
            "stack.router.config: [router/none.yaml, other/none.yaml, router/queue.yaml, null]",
            "stack.engine.enable_prefix_caching: [true, false]",
            "workload.duration: [30s, 1m, 1e2]",
            "workload.load: [{name: calm, value: {rate: 5}}, {concurrency: 4}]",
            "stack.engine: [{max_num_seqs: 7, max_num_batched_tokens: 8192, max_model_len: 32768,"
            " block_size: 16}, {block_size: 32}]",
        )
    )
    assert labels(loaded, "stack.router.config") == [
        "router/none.yaml",
        "other/none.yaml",
        "queue",
        "null",
    ]
    assert labels(loaded, "stack.engine.enable_prefix_caching") == ["true", "false"]
    assert labels(loaded, "workload.duration") == ["30s", "1m", "1e2"]
    assert labels(loaded, "workload.load") == ["calm", '{"concurrency":4}']
    long, short = labels(loaded, "stack.engine")
    assert len(long) == 60
    assert long.endswith("…")
    assert short == '{"block_size":32}'


def test_files_with_the_same_text_are_one_level(say: Say, folder: Path, text: str) -> None:
    (folder / "router/copy.yaml").write_text("plugins: [none]\n")
    rows = ["stack.router.config: [router/none.yaml, router/copy.yaml]"]
    assert say(with_matrix(text, *rows)) == [
        (
            "e.yaml:16:43: stack.router.config: the level 'copy' means the same as 'none' (line "
            "16); its trials would be measured twice."
        )
    ]


def test_files_stand_beside_the_experiment_wherever_it_is_read_from(
    folder: Path,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "linked.yaml").symlink_to(folder / "router/none.yaml")
    monkeypatch.chdir(elsewhere)
    rows = [f"stack.router.config: [{elsewhere}/linked.yaml, router/queue.yaml]"]
    (folder / "e.yaml").write_text(with_matrix(text, *rows))
    loaded = load(Path(os.path.relpath(folder / "e.yaml")))
    assert labels(loaded, "stack.router.config") == ["linked", "queue"]


def test_a_document_may_stand_where_a_file_is_named(load_text: Load, text: str) -> None:
    loaded = load_text(text.replace("{config: router/queue.yaml}", "{config: {plugins: [a]}}"))
    config = loaded.base["stack"]["router"]["config"]
    assert yaml.safe_load(config["text"]) == {"plugins": ["a"]}
    assert config["name"] == "inline"


def test_a_whole_section_as_factor_has_its_files_taken_in(load_text: Load, text: str) -> None:
    loaded = load_text(with_matrix(text, "stack.router: [{}, {config: router/none.yaml}]"))
    assert loaded.factors[0].levels[1].value["config"]["text"] == "plugins: [none]\n"


PROCESS = "{kind: process, command: [serve]}"


def test_a_free_mapping_takes_any_key(load_text: Load, text: str) -> None:
    loaded = load_text(
        with_stack(text, PROCESS, "stack.args.parallel: [1, 2]", "stack.args.a.b: [x, z]")
    )
    levels = {factor.path: factor.levels[1].value for factor in loaded.factors}
    data = assign(loaded.base["stack"], levels)
    assert data["args"] == {"parallel": 2, "a.b": "z"}
    assert validate_section("stack", data).args == {"parallel": 2, "a.b": "z"}


def test_a_level_is_judged_beside_the_kind_that_it_is_for(load_text: Load, text: str) -> None:
    """Fields of one kind beside levels of the kind: the plan judges each combination."""
    loaded = load_text(
        with_stack(
            text,
            "{kind: simulated}",
            "stack.kind: [simulated, process]",
            "stack.command: [[a], [b]]",
            "stack.replicas: [1, 2]",
        )
    )
    assert len(loaded.factors) == 3


def test_a_level_wrong_beside_every_kind_is_told(say: Say, text: str) -> None:
    told = say(
        with_stack(
            text,
            "{kind: simulated, accelerators: x}",
            "stack: [{kind: process, command: [a]}, {kind: endpoint, url: http://a}]",
            "stack.accelerators: [1, -1]",
        )
    )
    assert told == ["e.yaml:14:27: stack.accelerators: must be at least 0, not -1."]


def test_kinds_of_include_entries_count(load_text: Load, text: str) -> None:
    entry = "{stack: {kind: process, command: [a]}, stack.args.x: 1}"
    loaded = load_text(with_matrix(text, f"include: [{entry}]"))
    assert loaded.include[0]["stack.args.x"].value == 1


def test_an_include_entry_takes_the_levels_that_are_there(load_text: Load, text: str) -> None:
    loaded = load_text(
        with_matrix(
            text,
            "workload.load: [{name: calm, value: {rate: 5}}, {rate: 50}]",
            "include: [{workload.load: calm, workload.groups: 4}, {workload.load: {rate: 50}},"
            " {workload.load: {rate: 500}}]",
        )
    )
    calm, fast = loaded.factors[0].levels
    assert loaded.include[0]["workload.load"] is calm
    assert loaded.include[1]["workload.load"] is fast
    assert loaded.include[2]["workload.load"].label == '{"rate":500}'


def test_assign_leaves_the_section_as_it_was() -> None:
    section = {"kind": "simulated", "router": {"config": "a"}, "engine": None}
    given = {
        "stack.router.config": "b",
        "stack.engine.block_size": 32,
        "stack.router": {"config": 1},
    }
    assert assign(section, given) == {
        "kind": "simulated",
        "router": {"config": "b"},
        "engine": {"block_size": 32},
    }
    assert section == {"kind": "simulated", "router": {"config": "a"}, "engine": None}
    whole = {"kind": "process", "args": {"x": 1}}
    assert assign(section, {"stack": whole, "stack.args.x": 2})["args"] == {"x": 2}
    assert whole["args"] == {"x": 1}


def test_a_section_is_validated_as_its_kind() -> None:
    assert isinstance(validate_section("stack", {"kind": "simulated"}), SimulatedStack)
    valid = validate_section("stack", {"kind": "process", "command": ["a"]})
    assert isinstance(valid, ProcessStack)
    with pytest.raises(ValidationError):
        validate_section("stack", {"kind": "process"})


def test_one_combination_is_explained_by_what_is_wrong_in_it(load_text: Load, text: str) -> None:
    loaded = load_text(
        with_stack(
            text,
            "{kind: simulated}",
            "stack.kind: [simulated, {name: real, value: process}]",
            "stack.replicas: [1, 2]",
            "stack.command: [[a]]",
        )
    )
    kind, replicas, command = loaded.factors
    combination = {
        kind.path: kind.levels[1],
        replicas.path: replicas.levels[1],
        command.path: command.levels[0],
    }
    values = {path: level.value for path, level in combination.items()}
    with pytest.raises(ValidationError) as caught:
        validate_section("stack", assign(loaded.base["stack"], values))
    explained = loaded.explain(caught.value, {**combination, "workload.seed": kind.levels[0]})
    assert isinstance(explained, SpecError)
    assert str(explained) == (
        "e.yaml:14:23: stack.replicas: in the combination stack.kind=real, stack.replicas=2, "
        "stack.command=[\"a\"]: is not known for stack kind 'process'; it belongs to stack kind "
        "'simulated'."
    )


def test_replicates_of_both_sorts(load_text: Load, text: str) -> None:
    both = text.replace("replicates: 3", "replicates: {deployments: 2, workloads: 3}")
    assert load_text(both).experiment.replicates == Replicates(deployments=2, workloads=3)


def test_two_factors_of_a_thousand_levels(load_text: Load, text: str) -> None:
    levels = ", ".join(str(n) for n in range(1, 1001))
    rows = [f"workload.output_len: [{levels}]", f"workload.question_len: [{levels}]"]
    loaded = load_text(with_matrix(text, *rows))
    assert [len(factor.levels) for factor in loaded.factors] == [1000, 1000]


def judged(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        load(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary())
def test_no_bytes_end_in_anything_but_a_user_error(folder: Path, data: bytes) -> None:
    judged(folder / "e.yaml", data)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["simulated", "process", "shared-prefix", "router/none.yaml", "30s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "value", "kind", "rate", "concurrency", "config", "args", "include"]
            )
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
PATHS = [
    "name",
    "model",
    "model.name",
    "stack",
    "stack.kind",
    "stack.router",
    "stack.router.config",
    "stack.engine.startup",
    "stack.args",
    "stack.args.x",
    "stack.env",
    "stack.url",
    "stack.command",
    "workload",
    "workload.kind",
    "workload.load",
    "workload.load.rate",
    "workload.duration",
    "matrix",
    "replicates",
    "slo",
    "run.budget",
    "results",
    *(f"matrix/{path}" for path in ("include", "exclude", "stack", "stack.kind", "stack.args.x")),
    *(f"matrix/{path}" for path in ("workload", "workload.load", "stack.router.config", "run")),
]


def put(document: dict[str, object], path: str, value: object) -> None:
    first, slash, rest = path.partition("/")
    keys = [first, rest] if slash else path.split(".")
    here = document
    for key in keys[:-1]:
        below = here.get(key)
        here[key] = below = below if isinstance(below, dict) else {}
        here = below
    here[keys[-1]] = value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), values | st.lists(values)), max_size=4))
def test_no_document_ends_in_anything_but_a_user_error(
    folder: Path, text: str, changes: list[tuple[str, object]]
) -> None:
    document = yaml.safe_load(text)
    for path, value in changes:
        put(document, path, value)
    judged(folder / "e.yaml", yaml.safe_dump(document).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 700), cut=st.integers(0, 40), new=st.text(max_size=6))
def test_no_edit_of_a_file_ends_in_anything_but_a_user_error(
    folder: Path, text: str, at: int, cut: int, new: str
) -> None:
    judged(folder / "e.yaml", (text[:at] + new + text[at + cut :]).encode())
