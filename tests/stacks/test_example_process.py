"""examples/process.yaml names a server that runs here, and whose cache does what it says."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.harness.native.tokenized import tokenizer_words
from llmatrix.plan.trial import Trial
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks import registry
from llmatrix.stacks.http import ask
from llmatrix.stacks.local_site import LocalSite

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 4])
def test_cached_tokens_agree_with_what_the_workload_shares(
    parallel: int,
    llama_command: list[str],
    tiny_model: Path,
    make_trial: Callable[..., Trial],
    converge: Callable[..., None],
    site: LocalSite,
) -> None:
    del llama_command  # skips where there is no engine
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / "process.yaml").read_text())
    section, workload = document["stack"], document["workload"]
    section["command"] = [
        str(tiny_model) if part == "tiny.gguf" else part for part in section["command"]
    ]
    assert parallel in document["matrix"]["stack.args.parallel"]
    section["args"]["parallel"] = parallel
    stack = registry.stack("process")
    trial = make_trial(section, model=document["model"]["name"])
    stack.preflight(trial.treatment)
    converge(stack, trial, site)
    target = stack.target(trial, site)
    (metrics,) = target.metrics_urls
    assert b"llamacpp:prompt_tokens_total" in ask("GET", metrics).body

    rng = random.Random(7)  # noqa: S311 - prompts, not secrets
    vocabulary = document["model"]["vocab_size"]

    def tokens(count: int) -> list[int]:
        return [rng.randrange(3, vocabulary) for _ in range(count)]

    prefixes = [tokens(workload["prefix_len"]) for _ in range(workload["groups"])]
    for turn in range(3):
        for prefix in prefixes:
            # The turn tells its first token apart: a prompt shares the prefix and no more.
            prompt = [*prefix, 3 + turn, *tokens(workload["question_len"] - 1)]
            request = {
                "model": target.model,
                "prompt": prompt,
                "max_tokens": workload["output_len"],
                "ignore_eos": True,
            }
            url = f"{target.base_url}/v1/completions"
            usage = ask("POST", url, timeout_s=60, document=request).json()["usage"]
            assert usage["prompt_tokens"] == len(prompt)
            assert usage["completion_tokens"] == workload["output_len"]
            shared = 0 if turn == 0 else workload["prefix_len"]
            assert usage["prompt_tokens_details"]["cached_tokens"] == shared
    assert stack.remove(site) == []


@pytest.mark.slow
def test_the_models_tokenizer_counts_as_the_engine_does(
    llama_command: list[str],
    tiny_model: Path,
    make_trial: Callable[..., Trial],
    converge: Callable[..., None],
    site: LocalSite,
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    ours = tokenizers.Tokenizer.from_file(str(tiny_model.with_name("tokenizer.json")))
    words = tokenizer_words(tiny_model.parent)
    section = {"kind": "process", "command": llama_command, "ready": {"path": "/health"}}
    stack, trial = registry.stack("process"), make_trial(section)
    converge(stack, trial, site)
    url = stack.target(trial, site).base_url
    for text in ("ab ad zebra h\u00e9 7", words.written(1, ("any",), 200).decode()):
        theirs = ask("POST", f"{url}/tokenize", document={"content": text}).json()["tokens"]
        assert theirs == ours.encode(text).ids
    assert len(theirs) == 200
    assert stack.remove(site) == []


@pytest.mark.parametrize("name", ["process", "endpoint"])
def test_the_documents_are_valid(name: str) -> None:
    document = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    parts = {part: document[part] for part in ("model", "stack", "workload")}
    treatment = Treatment.model_validate(parts)
    assert treatment.stack.kind == name
    assert document["name"] == name
