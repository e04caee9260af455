"""Every verb through the real command line: help, mistakes, plans and what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llmatrix.cli.main import VERBS

Place = Any  # the fixture of conftest.py, which is no module that a test may import
HEAVY = ("pydantic", "rich", "numpy", "pyarrow", "duckdb", "scipy", "yaml", "llmatrix.spec")


@pytest.mark.parametrize("verb", [*VERBS, ""])
def test_every_verb_explains_itself(place: Place, verb: str) -> None:
    said = place(*filter(None, [verb, "--help"]))
    assert said.code == 0
    assert said.out.startswith(f"Usage: llmatrix{f' {verb}' if verb else ''}")
    assert said.err == ""
    assert all(len(line) <= 100 for line in said.out.splitlines())


def test_help_lists_every_verb_with_a_sentence(place: Place) -> None:
    said = place("--help")
    lines = [line.split(None, 1) for line in said.out.splitlines() if line.startswith("  ")]
    listed = {words[0]: words[1] for words in lines if words[0] in VERBS}
    assert list(listed) == list(VERBS)
    assert all(sentence.endswith(".") for sentence in VERBS.values())


def test_help_and_version_load_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from llmatrix.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    for option in ("--help", "--version"):
        run = subprocess.run(
            [sys.executable, "-c", program, option], capture_output=True, text=True, check=True
        )
        loaded = set(run.stderr.splitlines())
        assert "llmatrix.cli.main" in loaded
        assert not loaded.intersection(HEAVY)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rnu", "e.yaml"], "there is no verb 'rnu'. Did you mean 'run'?"),
        (["xyzzy"], "there is no verb 'xyzzy'. `llmatrix --help` lists them."),
        (["run", "e.yaml", "--frsh"], "No such option '--frsh'. Did you mean '--fresh'?"),
        (["plan"], "Missing argument 'FILE'."),
        (["plan", "e.yaml", "f.yaml"], "Got unexpected extra argument (f.yaml)"),
        (["run", "--set"], "Option '--set' requires an argument."),
    ],
)
def test_a_mistyped_command_is_said_and_ends_with_2(
    place: Place, arguments: list[str], sentence: str
) -> None:
    said = place(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert f"Error: {sentence}" in said.err.splitlines()


def test_a_missing_file_is_said_with_its_place(place: Place) -> None:
    place.write("experiment.yaml")
    for verb in ("plan", "run", "status"):
        said = place(verb, "experimnt.yaml")
        assert said.code == 2
        assert "experimnt.yaml" in said.err
        assert said.err.startswith("error: ")
        assert "did you mean" in said.err


PICKERS = ["router/none.yaml", "router/queue.yaml"]
MATRIX = {"stack.router.config": PICKERS, "workload.output_len": [4, 5, 6]}


def test_plan_tells_treatments_deployments_order_and_cost(place: Place) -> None:
    file = place.write(matrix=MATRIX, replicates=2, run={"price_per_accelerator_hour": 3.0})
    said = place("plan", file)
    assert said.code == 0
    first, second, third, fourth, *table = said.out.splitlines()
    assert first == "small: 6 treatments × 2 replicates = 12 trials in 1 lane"
    assert second == "deployments: 1; applied steps: namespace 1, router 2, server 1"
    assert third.startswith("time: about ")
    assert fourth.startswith("cost: about 0.")
    assert table[0].strip() == "Order of trials"
    assert table[2].split("┃")[1:-1] != []
    assert sum(line.startswith("│") for line in table) == 12
    assert not (place.folder / "results").exists()
    assert not (place.folder / "state").exists()


def test_plan_tells_what_of_the_time_is_for_downloads_and_what_is_not_in_it(place: Place) -> None:
    files = {"source": "huggingface", "revision": "5f" * 20}
    stack = {"kind": "llm-d", "gateway": {"mode": "none"}, "server": {"simulated": True}}
    sized = place.write(stack={**stack, "model": files | {"size": "30G"}}, run={"engine": "tekton"})
    assert (
        "of it for models from the Hub: about 5 min 00 s at 100 MB/s (run.cluster.download_rate)"
        in " ".join(place("plan", sized).out.split())
    )
    rate = ("--set", "run.cluster.download_rate=1GB/s")
    assert json.loads(place("plan", sized, "--json", *rate).out)["download_seconds"] == 30
    unsized = place.write(stack={**stack, "model": files}, run={"engine": "tekton"})
    assert (
        "the download of Qwen/Qwen3-0.6B is not in it: stack.model.size says how much that is"
        in " ".join(place("plan", unsized).out.split())
    )
    told = json.loads(place("plan", unsized, "--json").out)
    assert (told["download_seconds"], told["downloads_not_counted"]) == (0, ["Qwen/Qwen3-0.6B"])


def test_the_plan_as_json_is_whole_and_the_same_each_time(place: Place) -> None:
    file = place.write(matrix=MATRIX, replicates=2, run={"parallelism": 2, "seed": 5})
    said = place("plan", file, "--json")
    assert said.code == 0
    plan = json.loads(said.out)
    assert plan["factors"] == {
        "stack.router.config": ["none", "queue"],
        "workload.output_len": ["4", "5", "6"],
    }
    assert (plan["experiment"], plan["treatments"], plan["trials"]) == ("small", 6, 12)
    order = plan["order"]
    assert len({row["trial"] for row in order}) == 12
    seen = Counter((*row["levels"].values(), row["replicate"]["workload"]) for row in order)
    assert set(seen.values()) == {1}
    assert {key for row in order for key in row["keys"]} >= {"router", "server", "workload"}
    for lane in range(plan["lanes"]):
        positions = [row["position"] for row in order if row["lane"] == lane]
        assert positions == list(range(len(positions)))
    assert place("plan", file, "--json").out == said.out
    other = json.loads(place("plan", file, "--json", "--set", "run.seed=6").out)
    assert {row["trial"] for row in other["order"]} == {row["trial"] for row in order}
    assert [row["trial"] for row in other["order"]] != [row["trial"] for row in order]


def test_trial_ids_are_content_and_neither_place_nor_name_of_the_file(place: Place) -> None:
    def ids(file: str, *more: str) -> set[str]:
        plan = json.loads(place("plan", file, "--json", *more).out)
        return {row["trial"] for row in plan["order"]}

    here = ids(place.write("one.yaml"))
    assert ids(place.write("two.yaml", results={"store": "elsewhere/"})) == here
    assert ids("one.yaml", "--set", "run.retries=7") == here
    assert ids("one.yaml", "--only", "output_len=5") < here
    assert ids("one.yaml", "--set", "workload.question_len=9").isdisjoint(here)


def test_a_long_plan_is_cut_unless_all_is_asked(place: Place) -> None:
    file = place.write(matrix={"workload.output_len": list(range(1, 61))})
    short, whole = place("plan", file).out, place("plan", file, "--all").out
    assert short.splitlines()[-1] == "… and 20 more; --all lists them, --json too."
    assert sum(line.startswith("│") for line in whole.splitlines()) == 60


def test_a_plan_beyond_its_budget_is_refused(place: Place) -> None:
    file = place.write(run={"budget": {"time": "2s"}})
    for verb in ("plan", "run"):
        said = place(verb, file)
        assert said.code == 2
        assert "run.budget.time" in said.err
        assert "e.yaml" in said.err
    assert not (place.folder / "results").exists()


WIDTHS = {"stack.tensor_parallel": [1, 2], "workload.question_len": [10, 20]}


def of_a_large_model(place: Place, **more: Any) -> str:
    """Write an experiment of which one width cannot fit."""
    file: str = place.write(
        model={"name": "Qwen/Qwen3-32B"},
        stack={"kind": "simulated", "accelerator": "A100-40G"},
        matrix=WIDTHS,
        **more,
    )
    return file


def test_what_cannot_fit_is_named_with_figures_and_left_out(place: Place) -> None:
    file = of_a_large_model(place)
    said = place("plan", file)
    assert said.code == 0
    text = " ".join(said.out.split())
    assert "2 treatments × " in text
    assert "2 treatments do not fit and are left out: tensor_parallel=1 question_len=10 " in text
    assert "(and 1 more): Qwen/Qwen3-32B on 1 × A100-40G: 65.5 GB of weights on each" in text
    whole = json.loads(place("plan", file, "--json").out)
    assert [each["levels"]["stack.tensor_parallel"] for each in whole["left_out"]] == ["1", "1"]
    assert {row["levels"]["stack.tensor_parallel"] for row in whole["order"]} == {"2"}
    assert whole["not_judged"] == []


@pytest.mark.parametrize("verb", ["plan", "run", "submit"])
def test_strictly_what_cannot_fit_ends_it_before_anything_starts(place: Place, verb: str) -> None:
    said = place(verb, of_a_large_model(place), "--strict")
    assert said.code == 2
    assert "--strict: every treatment must fit." in said.err
    assert "tensor_parallel=1 question_len=10 (and 1 more): Qwen/Qwen3-32B" in said.err
    assert not (place.folder / "results").exists()


def test_a_plan_of_which_nothing_fits_is_refused_with_its_place(place: Place) -> None:
    said = place("plan", of_a_large_model(place), "--only", "tensor_parallel=1")
    assert said.code == 2
    assert ": stack: no treatment fits: Qwen/Qwen3-32B on 1 × A100-40G: " in said.err


def test_a_model_that_nobody_knows_is_not_judged_and_that_is_said_once(place: Place) -> None:
    file = place.write(
        model={"name": "acme/new"},
        stack={"kind": "llm-d", "gateway": {"mode": "none"}, "server": {"image": "vllm:1"}},
        matrix={"stack.server.replicas": [1, 2], "workload.question_len": [10, 20]},
    )
    said = place("plan", file)
    assert said.code == 0
    text = " ".join(said.out.split())
    assert text.count("not judged whether it fits: no preset has the model 'acme/new'") == 1


def test_the_schema_is_a_valid_json_schema_that_describes_the_sections(place: Place) -> None:
    schema = json.loads(place("schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) >= {"name", "model", "stack", "workload", "matrix", "run"}

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for each in node for found in references(each)]
        if not isinstance(node, dict):
            return []
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for each in node.values() for found in references(each)]

    for reference in references(schema):
        at = schema
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_what_init_writes_can_be_planned_and_is_never_overwritten(place: Place) -> None:
    said = place("init", "mine/first-try.yaml")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "Next: llmatrix plan mine/first-try.yaml"
    planned = place("plan", "mine/first-try.yaml")
    assert planned.code == 0
    assert planned.out.startswith("first-try: ")
    file = place.folder / "mine/first-try.yaml"
    file.write_text(file.read_text() + "# mine\n")
    again = place("init", "mine/first-try.yaml")
    assert again.code == 2
    assert again.err.startswith("error: mine/first-try.yaml is there already; ")
    assert file.read_text().endswith("# mine\n")
    assert place("init", "mine/first-try.yaml", "--force").code == 0
    assert not file.read_text().endswith("# mine\n")


def test_a_report_of_nothing_says_what_to_do(place: Place) -> None:
    said = place("report")
    assert said.code == 2
    assert said.err == (
        f"error: {place.folder}/results does not exist; name an experiment's folder, such as "
        "results/quickstart, or run one first\n"
    )


def test_nobody_reading_the_output_is_no_error(place: Place) -> None:
    file = place.write(matrix={"workload.output_len": list(range(1, 2001))})
    process = place.start("plan", file, "--json")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_the_package_says_its_version(place: Place) -> None:
    said = place("--version")
    assert said.out == "llmatrix, version 0.1.0\n"
    assert Path(__file__).parents[2].joinpath("pyproject.toml").read_text().count('"0.1.0"') == 1
