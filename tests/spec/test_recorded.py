"""Files of recorded traffic in an experiment: taken in by their content, told by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.plan.digest import document_digest
from llmatrix.spec.load import Loaded
from llmatrix.spec.sections import validate_section

Load = Callable[..., Loaded]
Say = Callable[..., list[str]]

DATASET = """\
name: replay
model: {name: Qwen/Qwen3-0.6B}
stack: {kind: simulated}
workload:
  kind: dataset
  dataset: prompts.jsonl
  load: {rate: 20}
"""
TRACE = """\
name: replay
model: {name: Qwen/Qwen3-0.6B}
stack: {kind: simulated}
workload:
  kind: trace
  trace: trace.csv
  duration: 10s
"""


def rows(*found: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)


def trace(count: int) -> str:
    lines = "".join(f"{n},10,5\n" for n in range(count))
    return f"timestamp,input_length,output_length\n{lines}"


def test_the_id_depends_on_the_content_and_not_on_the_name(folder: Path, load_text: Load) -> None:
    digests = []
    for name, prompt in (("prompts", "a"), ("other", "a"), ("prompts", "b")):
        (folder / f"{name}.jsonl").write_text(rows({"prompt": prompt, "output_len": 3}))
        text = DATASET.replace("prompts", name)
        workload = validate_section("workload", load_text(text).base["workload"])
        digests.append(document_digest(workload))
    assert digests[0] == digests[1] != digests[2]


def test_a_large_file_is_known_by_its_hash_alone(folder: Path, load_text: Load) -> None:
    (folder / "prompts.jsonl").write_text(
        rows(*({"prompt": f"number {n}", "output_len": 1 + n % 9} for n in range(50_000)))
    )
    workload = validate_section("workload", load_text(DATASET).base["workload"])
    document = workload.model_dump_json()
    assert len(document) < 2000
    assert "number 7" not in document
    assert not workload.dataset.travels
    assert workload.dataset.path == str(folder / "prompts.jsonl")
    assert (workload.dataset.rows, workload.dataset.longest) == (50_000, 2)
    assert workload.most_tokens == 2 + 9


def test_files_can_be_levels(folder: Path, load_text: Load) -> None:
    for name in ("short", "long"):
        (folder / f"{name}.jsonl").write_text(rows({"prompt": name, "output_len": 3}))
    text = DATASET.replace("  dataset: prompts.jsonl\n", "")
    (factor,) = load_text(text + "matrix:\n  workload.dataset: [short.jsonl, long.jsonl]\n").factors
    assert [level.label for level in factor.levels] == ["short", "long"]


@pytest.mark.parametrize(
    ("content", "change", "sentence"),
    [
        (
            rows({"prompt": "a", "output_len": 1}) + "{oops\n",
            (),
            "prompts.jsonl:2: workload.dataset: is not JSON:",
        ),
        (
            rows({"prompt": "a", "output_len": 1}, {"text": "b"}),
            (),
            "prompts.jsonl:2: workload.dataset: has neither `prompt` nor `messages` nor "
            "`conversations`.",
        ),
        (
            rows({"prompt": "a"}),
            (),
            "e.yaml:5:3: workload: output_len is missing: line 1 of the dataset says neither how "
            "long its answer is to be nor what was answered.",
        ),
        (
            rows({"messages": [{"role": "user", "content": "q"}] * 2, "output_len": 1}),
            (),
            "e.yaml:5:3: workload: line 1 of the dataset has several messages; set api: chat.",
        ),
        (
            rows({"prompt": "a", "output_len": 1}),
            ("prompts.jsonl", "promts.jsonl"),
            "e.yaml:6:12: workload.dataset: the file 'promts.jsonl' is not there (seen from HERE); "
            "did you mean 'prompts.jsonl'?",
        ),
        (
            rows({"prompt": "a", "output_len": 1}),
            ("kind: dataset", "kind: dataset\n  prompt: token-ids"),
            "e.yaml:6:11: workload.prompt: must be 'text', not 'token-ids'.",
        ),
        (
            rows({"prompt": "a", "output_len": 1}),
            ("kind: dataset", "kind: dataset\n  shards: 0"),
            "e.yaml:6:11: workload.shards: must be at least 1, not 0.",
        ),
        (
            rows({"prompt": "a", "output_len": 1}),
            ("kind: dataset", "kind: dataset\n  shards: many"),
            "e.yaml:6:11: workload.shards: must be a whole number from 1 to 64, or auto, not "
            "'many'.",
        ),
    ],
)
def test_what_is_wrong_with_a_dataset(
    folder: Path, say: Say, content: str, change: tuple[str, str], sentence: str
) -> None:
    (folder / "prompts.jsonl").write_text(content)
    (said,) = say(DATASET.replace(*change) if change else DATASET)
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("content", "change", "sentence"),
    [
        (
            trace(30).replace("\n7,", "\n1,"),
            (),
            "trace.csv:9: workload.trace: is earlier than the row before; sort the trace by its "
            "timestamps.",
        ),
        (
            trace(10),
            (),
            "e.yaml:5:3: workload: the trace lasts 9 s at speed 1, and warm-up and window 15 s; "
            "lower duration, warmup or speed.",
        ),
        (
            trace(30),
            ("duration: 10s", "duration: 10s\n  speed: 0"),
            "e.yaml:8:10: workload.speed: must be above 0, not 0.",
        ),
        (
            trace(30),
            ("duration: 10s", "duration: 10s\n  load: {rate: 3}"),
            "e.yaml:8:3: workload.load: is not known for workload kind 'trace'; it belongs to "
            "workload kind 'random', 'shared-prefix', 'multi-turn' or 'dataset'.",
        ),
    ],
)
def test_what_is_wrong_with_a_trace(
    folder: Path, say: Say, content: str, change: tuple[str, str], sentence: str
) -> None:
    (folder / "trace.csv").write_text(content)
    (said,) = say(TRACE.replace(*change) if change else TRACE)
    assert said == sentence


def test_a_trace_lasts_as_its_unit_and_speed_say(folder: Path, load_text: Load) -> None:
    (folder / "trace.csv").write_text(trace(41))
    loaded = load_text(TRACE + "  speed: 2\n")
    assert validate_section("workload", loaded.base["workload"]).lasts == 20.0
    scaled = trace(41).replace(",10,5", "000,10,5")
    (folder / "trace.csv").write_text(scaled)
    loaded = load_text(TRACE + "  unit: ms\n")
    workload = validate_section("workload", loaded.base["workload"])
    assert (workload.lasts, workload.most_tokens, workload.mean_output) == (40.0, 15, 5.0)


@pytest.mark.parametrize(
    ("answers", "output_len", "needs"), [(True, "", True), (True, "  output_len: 9\n", False)]
)
def test_recorded_answers_need_a_tokenizer_to_be_counted(
    folder: Path, load_text: Load, output_len: str, *, answers: bool, needs: bool
) -> None:
    said = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "one two"}]
    (folder / "prompts.jsonl").write_text(json.dumps([{"conversations": said}] * answers))
    loaded = load_text(DATASET + output_len)
    assert validate_section("workload", loaded.base["workload"]).needs_tokenizer is needs


def test_received_history_is_text(folder: Path, say: Say) -> None:
    del folder
    text = DATASET.replace(
        "kind: dataset\n  dataset: prompts.jsonl", "kind: multi-turn\n  turns: 3"
    )
    (said,) = say(text + "  question_len: 5\n  output_len: 5\n  history: received\n")
    assert "history: received repeats text, not token ids; set prompt: text." in said
