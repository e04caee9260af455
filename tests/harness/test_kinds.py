"""Conversations, datasets, traces and answers that are not streamed, over real sockets."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmatrix.analysis.checks import Verdict
from llmatrix.analysis.validity import Asked, Observed, judge
from llmatrix.errors import FailureClass, StepFailure

pytestmark = pytest.mark.slow

Start = Callable[..., Any]
Go = Callable[..., Any]


def by_session(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["scheduled_s"]):
        found[row["group"]].append(row)
    return found


@pytest.mark.parametrize(
    ("load", "shards"),
    [({"concurrency": 3}, 1), ({"concurrency": 3}, 2), ({"rate": 8.0, "arrivals": "constant"}, 1)],
)
def test_turns_follow_each_other_and_repeat_what_was_said(
    truth: Start, go: Go, load: dict[str, Any], shards: int
) -> None:
    server = truth()
    ran = go(
        server.url,
        kind="multi-turn",
        turns=3,
        think_time=0.05,
        load=load,
        shards=shards,
        question_len=7,
        output_len=4,
        duration=1.5,
    )
    sessions = by_session(ran.rows)
    whole = [rows for rows in sessions.values() if len(rows) == 3]
    assert len(whole) >= 3
    for rows in sessions.values():
        assert [row["turn"] for row in rows] == list(range(len(rows)))
        assert [row["prompt_tokens_asked"] for row in rows] == [7, 18, 29][: len(rows)]
        for before, after in pairwise(rows):
            assert after["scheduled_s"] - before["end_s"] == pytest.approx(0.05, abs=1e-6)
    answered = [row for row in ran.rows if row["error"] is None]
    assert all(row["prompt_tokens"] == row["prompt_tokens_asked"] for row in answered)
    prompts = sorted((seen.asked["prompt"] for seen in server.seen), key=len)
    first = [tuple(prompt) for prompt in prompts if len(prompt) == 7]
    assert len(set(first)) == len(first)
    for prompt in (prompt for prompt in prompts if len(prompt) > 7):
        assert tuple(prompt[:7]) in first
        shorter = [tuple(p) for p in prompts if len(p) == len(prompt) - 11]
        assert tuple(prompt[: len(prompt) - 11]) in shorter


def test_sessions_arrive_at_their_rate(truth: Start, go: Go) -> None:
    load = {"rate": 10.0, "arrivals": "constant"}
    ran = go(truth().url, kind="multi-turn", turns=2, load=load, duration=1.0)
    begins = [row["scheduled_s"] for row in ran.rows if row["turn"] == 0]
    assert begins == pytest.approx([number / 10 for number in range(len(begins))])


def test_thinking_varies_as_asked(truth: Start, go: Go) -> None:
    fields = {"kind": "multi-turn", "turns": 2, "think_time": 0.05, "think_cv": 1.0}
    ran = go(truth().url, load={"concurrency": 4}, duration=2.0, **fields)
    gaps = [
        rows[1]["scheduled_s"] - rows[0]["end_s"]
        for rows in by_session(ran.rows).values()
        if len(rows) == 2
    ]
    assert len(set(gaps)) == len(gaps) >= 20
    assert min(gaps) < 0.05 < max(gaps)


def test_a_turn_that_fails_ends_its_session(truth: Start, go: Go, tools: ModuleType) -> None:
    refuse = [tools.head("Content-Length: 0", status="500 Oops")]

    def script(seen: Any, _: int) -> Any:
        return refuse if len(seen.asked["prompt"]) > 20 else tools.answers()(seen, 0)

    ran = go(truth(script).url, kind="multi-turn", turns=4, load={"concurrency": 2}, duration=1.0)
    sessions = by_session(ran.rows)
    assert len(sessions) >= 4
    assert max(len(rows) for rows in sessions.values()) == 2
    assert {rows[1]["error"] for rows in sessions.values() if len(rows) == 2} <= {"http", "aborted"}


@pytest.mark.parametrize(
    ("api", "stream"), [("chat", True), ("completions", True), ("chat", False)]
)
def test_received_answers_are_repeated(
    truth: Start, go: Go, tools: ModuleType, *, api: str, stream: bool
) -> None:
    says = 'He said "ü\n'

    def script(seen: Any, _: int) -> Sequence[Any]:
        choice = {"index": 0, "text": says, "finish_reason": None}
        if api == "chat":
            choice = {"index": 0, "delta": {"content": says}, "message": {"content": says}}
        counts = {"prompt_tokens": 1, "completion_tokens": 2}
        document = {"choices": [choice], "usage": counts}
        if not seen.asked["stream"]:
            body = json.dumps(document).encode()
            return [tools.head(f"Content-Length: {len(body)}", kind="application/json"), body]
        part = tools.chunk(tools.event({"choices": [choice]}))
        end = tools.chunk(tools.event({"choices": [], "usage": counts}) + tools.END)
        return [tools.head(), part, part, end, b"0\r\n\r\n"]

    server = truth(script)
    ran = go(
        server.url,
        kind="multi-turn",
        turns=2,
        load={"concurrency": 2},
        history="received",
        prompt="text",
        api=api,
        stream=stream,
        model_tokenizer="words",
        duration=0.6,
    )
    assert {row["error"] for row in ran.window} == {None}
    said = says * (2 if stream else 1)
    if api == "chat":
        talks = [seen.asked["messages"] for seen in server.seen]
        second = [talk for talk in talks if len(talk) == 3]
        assert second
        for talk in second:
            assert [message["role"] for message in talk] == ["user", "assistant", "user"]
            assert talk[1]["content"] == said
    else:
        longer = [s.asked["prompt"] for s in server.seen if says in s.asked["prompt"]]
        assert longer
        assert all(f" {said} w" in prompt for prompt in longer)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_dataset_is_sent_row_by_row(truth: Start, go: Go, tmp_path: Path) -> None:
    rows = [{"prompt": f"tell me {n} \u00fc", "output_len": n + 1} for n in range(8)]
    file = tmp_path / "prompts.jsonl"
    file.write_text(lines(*rows), encoding="utf-8")
    server = truth()
    ran = go(
        server.url,
        kind="dataset",
        dataset=str(file),
        question_len=None,
        output_len=None,
        model_tokenizer="words",
        seed=3,
    )
    assert len(ran.window) == 10
    sent = [(row["prompt_tokens"], row["output_tokens"]) for row in ran.window]
    assert all(prompt == 4 for prompt, _ in sent)
    assert sorted(output for _, output in sent[:8]) == list(range(1, 9))
    assert [output for _, output in sent[:8]] != list(range(1, 9)), "not shuffled"
    assert sent[8:] == sent[:2]
    assert {row["prompt_tokens_asked"] for row in ran.window} == {4}
    texts = Counter(seen.asked["prompt"] for seen in server.seen)
    assert set(texts) == {row["prompt"] for row in rows}
    (note,) = [note for note in ran.measurement.notes if "rows came more than once" in note]
    assert "has 8 usable rows" in note


def test_a_chat_dataset_and_sharegpt(truth: Start, go: Go, tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi there"}]
    said = [{"from": "human", "value": "one two"}, {"from": "gpt", "value": "three four five"}]
    for name, rows, expected, output in (
        ("chat", [{"messages": chat, "output_len": 6}], chat, 6),
        (
            "sharegpt",
            [{"id": 1, "conversations": said}],
            [{"role": "user", "content": "one two"}],
            3,
        ),
    ):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(rows))
        server = truth()
        ran = go(
            server.url,
            kind="dataset",
            dataset=str(file),
            question_len=None,
            output_len=None,
            api="chat",
            model_tokenizer="words",
        )
        assert all(seen.asked["messages"] == expected for seen in server.seen)
        assert {row["output_tokens_asked"] for row in ran.window} == {output}
        assert {row["prompt_tokens_asked"] for row in ran.window} == {None}


def test_a_dataset_that_changed_meanwhile_is_refused(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(lines({"prompt": "a", "output_len": 1}))
    fields = {"kind": "dataset", "dataset": str(file), "question_len": None, "output_len": None}
    job = tools.job(tmp_path, truth().url, **fields)
    file.write_text(lines({"prompt": "b", "output_len": 1}))
    with pytest.raises(StepFailure, match="has changed since the trial was planned") as caught:
        tools.harness("native").run(job, progress=lambda _: None, stop=tools.threading.Event())
    assert caught.value.failure is FailureClass.USER


def test_a_small_file_travels_and_a_large_one_is_refused(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.jsonl"
    fields = {"kind": "dataset", "dataset": str(file), "question_len": None, "output_len": None}
    for large in (False, True):
        file.write_text(lines({"prompt": "a " * 10_000 * large + "b", "output_len": 1}))
        (tmp_path / str(large)).mkdir()
        job = tools.job(tmp_path / str(large), truth().url, duration=0.3, **fields)
        document = job.workload.model_dump_json()
        assert str(tmp_path) not in document
        assert len(document) < 20_000
        there = tools.replace(job, workload=type(job.workload).model_validate_json(document))
        stop = tools.threading.Event()
        if large:
            with pytest.raises(StepFailure, match="is not here") as caught:
                tools.harness("native").run(there, progress=lambda _: None, stop=stop)
            assert caught.value.failure is FailureClass.USER
        else:
            tools.harness("native").run(there, progress=lambda _: None, stop=stop)
            rows, _ = tools.left(there.folder)
            assert {row["error"] for row in rows if row["phase"] == "window"} == {None}


@pytest.mark.parametrize("shards", [1, 2])
def test_a_trace_is_replayed_at_its_speed(
    truth: Start, go: Go, tmp_path: Path, shards: int
) -> None:
    rows = [
        {"timestamp": 1000 + 100 * n, "input_length": 10 + n, "output_length": 1 + n % 3}
        for n in range(40)
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text(lines(*rows))
    ran = go(
        truth().url,
        kind="trace",
        trace=str(file),
        unit="ms",
        speed=4.0,
        question_len=None,
        output_len=None,
        load=None,
        shards=shards,
        warmup=0.1,
        duration=0.8,
    )
    sent = ran.rows
    assert [row["scheduled_s"] for row in sent] == pytest.approx(
        [n * 0.025 for n in range(len(sent))]
    )
    assert [row["prompt_tokens_asked"] for row in sent] == [10 + n for n in range(len(sent))]
    assert [row["output_tokens_asked"] for row in sent] == [1 + n % 3 for n in range(len(sent))]
    assert all(row["prompt_tokens"] == row["prompt_tokens_asked"] for row in ran.window)
    assert ran.measurement.asked_in_window == len(ran.window) == 32


def test_a_trace_is_the_same_traffic_in_any_number_of_shards(
    truth: Start, go: Go, tmp_path: Path
) -> None:
    """The same prompts, to the token, at the same moments, in the same order of request numbers."""
    rows = [
        {"timestamp": round(n * 0.02 + n % 3 * 0.005, 3), "input_length": 600 + n % 7,
         "output_length": 1 + n % 3, "hash_ids": [n % 4, 100 + n]}
        for n in range(30)
    ]  # fmt: skip
    file = tmp_path / "trace.jsonl"
    file.write_text(lines(*rows))
    plain = {"question_len": None, "output_len": None, "load": None}
    found = []
    for shards in (1, 2, 3):
        server = truth()
        ran = go(
            server.url, kind="trace", trace=str(file), **plain, shards=shards,
            warmup=0.1, duration=0.4,
        )  # fmt: skip
        sent = {
            row["request"]: (
                round(row["scheduled_s"], 6),
                row["phase"],
                row["prompt_tokens_asked"],
                row["output_tokens_asked"],
            )
            for row in ran.rows
        }
        window = {number for number, row in sent.items() if row[1] == "window"}
        prompts = Counter(
            (tuple(seen.asked["prompt"]), seen.asked["max_tokens"]) for seen in server.seen
        )
        found.append((sent, window, prompts))
    alone = found[0]
    assert len(alone[1]) == 20
    for sent, window, prompts in found[1:]:
        assert window == alone[1]
        assert {n: sent[n] for n in window} == {n: alone[0][n] for n in window}
        # What the end cuts off may be a request more or less.
        common = {n for n in sent if n in alone[0]}
        assert {n: sent[n] for n in common} == {n: alone[0][n] for n in common}
        assert sum((prompts & alone[2]).values()) >= len(window)
        assert sum((prompts - alone[2]).values()) <= 2


def test_blocks_of_a_trace_that_are_the_same_are_the_same_tokens(
    truth: Start, go: Go, tmp_path: Path
) -> None:
    rows = [
        {"timestamp": n / 20, "input_length": 1100, "output_length": 1, "hash_ids": [7, n, 90 + n]}
        for n in range(20)
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text(lines(*rows))
    server = truth()
    go(server.url, kind="trace", trace=str(file), question_len=None, output_len=None, load=None)
    prompts = [seen.asked["prompt"] for seen in server.seen]
    assert {len(prompt) for prompt in prompts} == {1100}
    assert len({tuple(prompt[:512]) for prompt in prompts}) == 1
    assert len({tuple(prompt[512:1024]) for prompt in prompts}) == len(prompts)


def test_an_answer_that_is_not_streamed_has_an_end_only(
    truth: Start, go: Go, tools: ModuleType
) -> None:
    def script(seen: Any, _: int) -> Sequence[Any]:
        assert seen.asked["stream"] is False
        assert "stream_options" not in seen.asked
        assert seen.headers["accept"] == "application/json"
        choice = {"index": 0, "text": "a b c d e", "finish_reason": "length"}
        counts = {"prompt_tokens": 20, "completion_tokens": 5}
        body = json.dumps({"choices": [choice], "usage": counts}).encode()
        half = len(body) // 2
        return [
            0.05,
            tools.head(f"Content-Length: {len(body)}", kind="application/json"),
            body[:half],
            0.05,
            body[half:],
        ]

    ran = go(truth(script).url, stream=False)
    assert len(ran.window) == 10
    for row in ran.window:
        assert row["error"] is None
        assert (row["ttft_ms"], row["ttft_from_send_ms"], row["tpot_ms"]) == (None, None, None)
        assert row["itl_ms"] == []
        assert row["e2e_ms"] >= 99
        assert row["last_token_s"] == row["first_token_s"] == row["end_s"]
        assert (row["prompt_tokens"], row["output_tokens"], row["chunks"]) == (20, 5, 1)


@pytest.mark.parametrize(
    ("body", "error", "detail"),
    [
        (b'{"choices": []}', "protocol", "the answer is no completion"),
        (b"[1, 2]", "protocol", "the answer is no completion"),
        (b"<html>", "protocol", "the answer is not JSON: <html>"),
        (b'data: {"choices":[{"text":"a"}]}\n\n', "protocol", "the answer is not JSON: data:"),
        (b'{"error": {"message": "no"}, "choices": [{"text": ""}]}', "http", "no"),
    ],
)
def test_what_is_no_whole_answer_is_told(
    truth: Start, go: Go, tools: ModuleType, body: bytes, error: str, detail: str
) -> None:
    head = tools.head(f"Content-Length: {len(body)}", kind="application/json")
    ran = go(truth(lambda *_: [head, body]).url, stream=False, duration=0.2)
    for row in ran.window:
        assert row["error"] == error
        assert detail in row["error_detail"]


def test_a_whole_answer_that_does_not_come_is_a_timeout(truth: Start, go: Go) -> None:
    ran = go(truth(lambda *_: []).url, stream=False, duration=0.2, timeout=0.5)
    assert {row["error"] for row in ran.window} == {"timeout"}
    assert {row["error_detail"] for row in ran.window} == {
        "no whole answer came within the time allowed"
    }


def test_a_tokenizer_that_is_not_the_models_is_told(
    truth: Start, go: Go, tools: ModuleType, tmp_path: Path
) -> None:
    def script(seen: Any, number: int) -> Any:
        *answer, counts, end, last = tools.answers()(seen, number)
        del counts
        wrong = tools.chunk(tools.usage(tools.prompt_tokens(seen.asked) + 3 + number % 5, 5))
        return [*answer, wrong, end, last]

    ran = go(
        truth(script).url,
        prompt="text",
        model_tokenizer="words",
        load={"rate": 60.0, "arrivals": "constant"},
        duration=1.0,
    )
    checks = judge(
        pq.read_table(tmp_path / "requests.parquet"),
        window_s=ran.measurement.window_s,
        asked=Asked(rate=60.0, arrivals="constant"),
        observed=Observed(),
    )
    (check,) = [check for check in checks if check.name == "prompt_tokens_exact"]
    assert check.verdict is Verdict.FAIL
    assert "set model.tokenizer and model.vocab_size to the served model's" in check.advice


def test_a_whole_answer_cut_short_is_an_error(truth: Start, go: Go, tools: ModuleType) -> None:
    head = tools.head("Content-Length: 100", kind="application/json")
    ran = go(truth(lambda *_: [head, b'{"choices"', tools.CLOSE]).url, stream=False, duration=0.2)
    assert {row["error"] for row in ran.window} == {"stream"}
