"""Other load generators: how each is installed, run in a closed loop, and read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from truth import HERE, ITL_MS, PROMPT, TOKENS, TTFT_MS, WARMUP_S, Numbers, Truth

_OWN_UV = HERE.parents[1] / ".uv/bin/uv"
_UV = str(_OWN_UV) if _OWN_UV.exists() else "uv"
_INSTALL_S = 1200.0
_ANSWER_S = (TTFT_MS + TOKENS * ITL_MS) / 1e3
_START_S = 400.0


class Unable(Exception):
    """A program could not be installed or run; the text says why."""


@dataclass(frozen=True)
class Environment:
    """Where a program is installed."""

    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)


@dataclass(frozen=True)
class Told:
    """What a program tells of its requests: when each was sent (monotonic s), and its TTFT."""

    sent: Numbers
    ttft_ms: Numbers


def environment(name: str, packages: Sequence[str], *, newest: bool) -> Environment:
    """Make an environment with these packages, or find the one made before.

    Args:
        name: of its folder.
        packages: as pip takes them.
        newest: whether it needs Python 3.12 or later.

    Raises:
        Unable: no such Python, or the packages cannot be installed.
    """
    cache = os.environ.get("LLMATRIX_BENCH_CACHE", "~/.cache/llmatrix/loadgen")
    folder = Path(cache).expanduser() / name
    done = folder / "installed"
    wanted = " ".join(packages)
    if done.is_file() and done.read_text() == wanted:
        return Environment(folder)
    python = next(_pythons(newest=newest), None)
    if python is None:
        raise Unable("it needs Python 3.12 or later, and none is found here")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([_UV, "venv", "-q", "-p", python, str(folder)], _INSTALL_S)
    _run([_UV, "pip", "install", "-q", "-p", str(folder / "bin/python"), *packages], _INSTALL_S)
    done.write_text(wanted)
    return Environment(folder)


def _pythons(*, newest: bool) -> Iterator[str]:
    """Give the interpreters that will do; those that start at all."""
    names = ("python3.13", "python3.12") if newest else ("python3.11", "python3.12", "python3")
    homes = sorted(Path("~/.pyenv/versions").expanduser().glob("3.1[23]*/bin/python"))
    for candidate in (*map(shutil.which, names), *(map(str, homes) if newest else ())):
        if candidate is None:
            continue
        tried = subprocess.run([candidate, "-c", "import ssl"], capture_output=True, check=False)
        if not tried.returncode:
            yield candidate


def _run(command: Sequence[str], seconds: float, folder: Path | None = None) -> str:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("VIRTUAL_ENV")}
    try:
        ended = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Unable(f"there is no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise Unable(f"{Path(command[0]).name} did not end within {seconds:.0f} s") from None
    if ended.returncode:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        raise Unable(f"{Path(command[0]).name} ended with {ended.returncode}: {said[-1:]}")
    return ended.stdout


def tokenizer(folder: Path) -> Path:
    """Write a tokenizer folder: byte-level BPE that can encode any text, of this repository's."""
    place = folder / "tokenizer"
    place.mkdir(exist_ok=True)
    made: Any = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train([str(HERE.parents[1] / "README.md")], trainer)
    made.save(str(place / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "<s>", "pad_token": "<s>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 100_000}
    (place / "tokenizer_config.json").write_text(json.dumps({**config, **special}))
    (place / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 2000}))
    return place


def _requests(streams: int, seconds: float) -> int:
    """Count the requests that keep the streams busy through warm-up and window."""
    return round(streams * (WARMUP_S + seconds) / _ANSWER_S * 1.1) + streams


def aiohttp_bench(
    place: Environment, server: Truth, folder: Path, streams: int, seconds: float
) -> Told:
    """Run the algorithm of vLLM's benchmark."""
    total = WARMUP_S + seconds
    program = [place.program("python"), str(HERE / "aiohttp_client.py"), server.url]
    arguments = [str(streams), str(total), str(PROMPT), str(TOKENS)]
    found = np.array(json.loads(_run([*program, *arguments], total + _START_S, folder)))
    return Told(found[:, 0], found[:, 1])


def inference_perf(
    place: Environment, server: Truth, folder: Path, streams: int, seconds: float
) -> Told:
    """Run inference-perf with a concurrent stage; its stamps are on the monotonic clock."""
    count = _requests(streams, seconds)
    length = {"min": PROMPT, "max": PROMPT, "mean": PROMPT, "std_dev": 0, "total_count": count}
    output = {**length, "min": TOKENS, "max": TOKENS, "mean": TOKENS}
    config = {
        "load": {
            "type": "concurrent",
            "stages": [{"num_requests": count, "concurrency_level": streams}],
            "num_workers": os.cpu_count(),
        },
        "api": {"type": "completion", "streaming": True},
        "server": {
            "type": "vllm",
            "model_name": "truth",
            "base_url": server.url,
            "ignore_eos": True,
        },
        "tokenizer": {"pretrained_model_name_or_path": str(tokenizer(folder))},
        "data": {"type": "random", "input_distribution": length, "output_distribution": output},
        "report": {"request_lifecycle": {"summary": True, "per_request": True}},
        "storage": {"local_storage": {"path": str(folder / "found")}},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    command = [place.program("inference-perf"), "--config_file", "config.yml"]
    _run(command, 4 * (WARMUP_S + seconds) + _START_S, folder)
    rows = json.loads((folder / "found" / "per_request_lifecycle_metrics.json").read_text())
    good = [row for row in rows if not row.get("error")]
    sent = [row["start_time"] for row in good]
    ttft = [(_first_token(row["info"]) - row["start_time"]) * 1e3 for row in good]
    return Told(np.array(sent), np.array(ttft))


def _first_token(info: Any) -> float:
    """Find the moment of the first token in what inference-perf tells of a request."""
    metrics = info.get("response_metrics") or info
    for name in ("output_token_times", "chunk_times"):
        if times := metrics.get(name) or info.get(name):
            return float(times[0])
    raise Unable(f"inference-perf tells no times of tokens: {sorted(metrics)}")


def aiperf(place: Environment, server: Truth, folder: Path, streams: int, seconds: float) -> Told:
    """Run aiperf; its stamps are POSIX nanoseconds."""
    count = _requests(streams, seconds)
    options = {
        "-m": "truth",
        "--tokenizer": tokenizer(folder),
        "--url": server.url,
        "--endpoint-type": "completions",
        "--concurrency": streams,
        "--request-count": count,
        "--num-dataset-entries": min(count, 1000),
        "--synthetic-input-tokens-mean": PROMPT,
        "--synthetic-input-tokens-stddev": 0,
        "--output-tokens-mean": TOKENS,
        "--output-tokens-stddev": 0,
        "--ui-type": "none",
        "--artifact-dir": folder / "found",
    }
    pairs = [str(part) for option in options.items() for part in option]
    switches = ["--streaming", "--no-gpu-telemetry", "--no-server-metrics"]
    command = [place.program("aiperf"), "profile", *pairs, *switches]
    _run(command, 4 * (WARMUP_S + seconds) + _START_S, folder)
    lines = (folder / "found" / "profile_export.jsonl").read_text().splitlines()
    rows = [row for line in lines if "time_to_first_token" in (row := json.loads(line))["metrics"]]
    offset = _posix_to_monotonic()
    sent = [row["metadata"]["request_start_ns"] / 1e9 + offset for row in rows]
    ttft = [row["metrics"]["time_to_first_token"]["value"] for row in rows]
    return Told(np.array(sent), np.array(ttft))


def guidellm(place: Environment, server: Truth, folder: Path, streams: int, seconds: float) -> Told:
    """Run guidellm; its stamps are POSIX seconds."""
    backend = {
        "kind": "openai_http",
        "target": server.url,
        "model": "truth",
        "request_format": "/v1/completions",
        "validate_backend": False,
    }
    options = {
        "--backend": backend,
        "--tokenizer": {"kind": "huggingface_auto", "model": str(tokenizer(folder))},
        "--profile": {"kind": "concurrent", "streams": streams},
        "--constraint": {"kind": "max_duration", "seconds": WARMUP_S + seconds},
        "--data": {"kind": "synthetic_text", "prompt_tokens": PROMPT, "output_tokens": TOKENS},
        "--output": {"kind": "json", "path": str(folder / "found.json")},
    }
    pairs = [part for name, value in options.items() for part in (name, json.dumps(value))]
    command = [place.program("guidellm"), "run", *pairs, "--disable-console"]
    _run(command, 4 * (WARMUP_S + seconds) + _START_S, folder)
    document = json.loads((folder / "found.json").read_text())
    rows = document["benchmarks"][0]["requests"]["successful"]
    offset = _posix_to_monotonic()
    sent = [row["request_start_time"] + offset for row in rows]
    ttft = [row["time_to_first_token_ms"] for row in rows]
    return Told(np.array(sent), np.array(ttft))


def _posix_to_monotonic() -> float:
    """Give what turns POSIX seconds into monotonic ones."""
    return time.monotonic() - time.time()
