"""`llmatrix report` on 1,000 trials of 1,000 requests: seconds, size, and the first picture.

`.venv/bin/python benchmarks/report.py [FOLDER]`

The records are drawn from a seed: 5 pickers x 5 rates x 5 question lengths x 2 output lengths x 4
replicates, each with 1,000 requests of 20 tokens, 14 checks, and four servers scraped 20 times.
They are made in FOLDER (kept, and used again) or in a temporary one. The report is built by the
command, as a whole process, and opened from disk in headless Chromium with nothing virtual about
its time: the page marks the moment after its first picture was painted, counted from the start
of the navigation, and the mark is read over the browser's debugging pipe. Three runs each; the
median counts. CPU seconds are told too, since others may use the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.analysis.metrics import summarise
from llmatrix.columns import REQUEST_COLUMNS, SERVER_COLUMNS, arrow_schema
from llmatrix.plan.step import Step
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, write_manifest
from llmatrix.results.record import Outcome, Record, StepOutcome
from llmatrix.results.records import write_record

PICKERS = {"none": 2.0, "prefix": 1.0, "kv": 1.2, "queue": 1.5, "lora": 1.7}
RATES = (5, 10, 20, 30, 40)
QUESTIONS = (50, 100, 400, 1000, 2000)
OUTPUTS = (100, 300)
REPLICATES = 4
REQUESTS = 1000
TOKENS = 20
RUNS = 3
BUILD_LIMIT_S, SIZE_LIMIT_MB, PICTURE_LIMIT_S = 10.0, 8.0, 2.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def write_experiment(store: FolderStore) -> None:
    axes = (PICKERS, RATES, QUESTIONS, OUTPUTS, range(REPLICATES))
    for number, (picker, rate, question, output, replicate) in enumerate(itertools.product(*axes)):
        levels = {
            "stack.router.config": picker,
            "workload.load.rate": str(rate),
            "workload.question_len": str(question),
            "workload.output_len": str(output),
        }
        random = np.random.default_rng(number)
        load = 1 + (rate / 45) ** 3 / (1.02 - rate / 45)
        scale = PICKERS[picker] * (1 + question / 1500) * load * random.lognormal(0, 0.03)
        requests = request_table(random, rate, scale)
        record = make_record(number, levels, replicate, requests)
        sinks = {"requests.parquet": requests, "server.parquet": server_table(random, rate)}
        write_record(store, record, {name: to_bytes(table) for name, table in sinks.items()})
    write_manifest(store, Manifest(name="thousand", slo={"ttft_p50": 0.1, "itl_p50": 0.02}, seed=7))


def to_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def request_table(random: np.random.Generator, rate: float, scale: float) -> pa.Table:
    scheduled = np.cumsum(random.exponential(1 / rate, REQUESTS))
    ttft = random.lognormal(np.log(30 * scale), 0.5, REQUESTS)
    gaps = random.lognormal(np.log(8), 0.2, (REQUESTS, TOKENS - 1)).astype("float32")
    took = ttft / 1000 + gaps.sum(axis=1) / 1000
    start = scheduled[REQUESTS // 10]
    columns: dict[str, Any] = {
        "request": np.arange(REQUESTS),
        "phase": np.where(scheduled < start, "warmup", "window"),
        "scheduled_s": scheduled,
        "sent_s": scheduled,
        "first_token_s": scheduled + ttft / 1000,
        "last_token_s": scheduled + took,
        "end_s": scheduled + took,
        "ttft_ms": ttft,
        "ttft_from_send_ms": ttft,
        "tpot_ms": gaps.mean(axis=1),
        "e2e_ms": took * 1000,
        "itl_ms": list(gaps),
        "output_tokens": np.full(REQUESTS, TOKENS),
        "status": np.full(REQUESTS, 200),
        "server": random.choice([f"10.0.0.{n}:8000" for n in range(1, 5)], REQUESTS),
    }
    schema = arrow_schema(REQUEST_COLUMNS)
    arrays = [
        pa.array(columns[name], type=kind) if name in columns else pa.nulls(REQUESTS, kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def server_table(random: np.random.Generator, rate: float) -> pa.Table:
    rows = [
        {"at_s": at, "server": f"10.0.0.{n}:8000", "metric": metric, "labels": "", "value": value}
        for at in np.linspace(0, REQUESTS / rate, 20)
        for n in range(1, 5)
        for metric, value in (
            ("vllm:num_requests_running", float(random.poisson(rate / 4))),
            ("vllm:num_requests_waiting", float(random.poisson(1))),
            ("vllm:kv_cache_usage_perc", float(random.uniform(0, 1))),
            ("vllm:generation_tokens_total", at * rate * TOKENS / 4),
            ("vllm:prefix_cache_queries_total", at * rate * 500),
            ("vllm:prefix_cache_hits_total", at * rate * 300),
        )
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(SERVER_COLUMNS))


def make_record(number: int, levels: dict[str, str], replicate: int, requests: pa.Table) -> Record:
    scheduled = requests["scheduled_s"].to_numpy()
    window = (float(scheduled[REQUESTS // 10]), float(scheduled[-1]))
    found = summarise(requests, window_s=window, accelerators=4)
    invalid = number % 40 == 0
    checks = [
        Check(f"check_{n}", 0.5 + n, f"<= {n + 1} of the limit", Verdict.PASS) for n in range(13)
    ]
    verdict = Verdict.FAIL if invalid else Verdict.PASS
    checks.append(Check("dispatch_lag_ms_p99", 9.0 if invalid else 0.8, "<= 5 ms", verdict))
    steps = [
        StepOutcome(
            step=step,
            outcome=Outcome.APPLIED if step is Step.WORKLOAD else Outcome.UNCHANGED,
            seconds=window[1] if step is Step.WORKLOAD else 0.01,
            key="k",
        )
        for step in Step
    ]
    document = {
        "model": {"name": "m"},
        "stack": {"kind": "process", "router": {"config": levels["stack.router.config"]}},
        "workload": {
            "load": {"rate": float(levels["workload.load.rate"])},
            "question_len": int(levels["workload.question_len"]),
            "output_len": int(levels["workload.output_len"]),
        },
    }
    return Record(
        trial=f"{number:020x}",
        experiment="thousand",
        levels=levels,
        replicate={"deployment": 0, "workload": replicate},
        document=document,
        versions={"harness": "native/1", "stack": "process/1"},
        keys={},
        traffic_seed=replicate,
        simulated=False,
        accelerators=4,
        started_at=1.7e9 + 100 * number,
        ended_at=1.7e9 + 100 * number + window[1],
        window_s=window,
        steps=steps,
        metrics=found.metrics,
        withheld=found.withheld,
        checks=checks,
        host={"cpu": "two cores"},
    )


def build(experiment: Path, page: Path) -> tuple[float, float]:
    """Give wall and CPU seconds of the command."""
    command = [str(Path(sys.executable).with_name("llmatrix")), "report", str(experiment)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run([*command, "-o", str(page)], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Browser:
    """A headless Chromium, spoken to over its debugging pipe: JSON ended by a zero byte."""

    def __init__(self, program: str, profile: Path) -> None:
        ours, self._out = os.pipe()
        self._in, theirs = os.pipe()
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        command += ["--remote-debugging-pipe", "--window-size=1280,900", "about:blank"]
        # The browser reads orders from descriptor 3 and answers on 4.
        shell = ["/bin/sh", "-c", f'exec "$@" 3<&{ours} 4>&{theirs}', "sh", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(ours, theirs), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(ours)
        os.close(theirs)
        self._answers = os.fdopen(self._in, "rb")
        self._count = 0

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._count += 1
        order = {"id": self._count, "method": method, "params": params}
        if session:
            order["sessionId"] = session
        os.write(self._out, json.dumps(order).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._count:
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> bytes:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser ended")
            parts += byte
        return bytes(parts)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._answers.close()
        os.close(self._out)


def first_picture(program: str, page: Path) -> dict[str, float]:
    """Open the page in a new browser; give its moments in seconds from the navigation's start."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, Path(profile))
        try:
            target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
            session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)
            tab = session["sessionId"]
            browser.ask("Page.navigate", tab, url=page.as_uri())
            told = "document.documentElement.dataset.drawn ?? null"
            marks = (
                "JSON.stringify(Object.fromEntries(performance.getEntries().filter((e) => "
                "e.name.startsWith('first')).map((e) => [e.name, e.startTime / 1000])"
                ".concat([['all pictures', performance.now() / 1000]])))"
            )
            for _ in range(1200):
                if evaluate(browser, tab, told) is not None:
                    found: dict[str, float] = json.loads(evaluate(browser, tab, marks))
                    return found
                time.sleep(0.05)
            raise RuntimeError("the page drew nothing within a minute")
        finally:
            browser.close()


def evaluate(browser: Browser, tab: str, expression: str) -> Any:
    answer = browser.ask("Runtime.evaluate", tab, expression=expression, returnByValue=True)
    return answer["result"].get("value")


@contextlib.contextmanager
def place(folder: str | None) -> Iterator[Path]:
    if folder:
        yield Path(folder).absolute()
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    with place(parser.parse_args().folder) as folder:
        if not (folder / "thousand" / "experiment.json").is_file():
            write_experiment(FolderStore(folder))
        page = folder / "thousand.html"
        times = [build(folder / "thousand", page) for _ in range(RUNS)]
        wall, cpu = (statistics.median(part) for part in zip(*times, strict=True))
        size = page.stat().st_size / 1e6
        print(f"llmatrix report: {wall:.1f} s ({cpu:.1f} s of CPU), page of {size:.2f} MB")
        missed = wall > BUILD_LIMIT_S or size > SIZE_LIMIT_MB
        program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
        if program is None:
            print("no Chromium on this machine: the first picture is not timed")
            return 1
        moments = [first_picture(program, page) for _ in range(RUNS)]
        told = {name: statistics.median(m[name] for m in moments) for name in moments[0]}
        print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in told.items()))
        missed |= told["first picture"] > PICTURE_LIMIT_S
    limits = f"{BUILD_LIMIT_S:g} s, {SIZE_LIMIT_MB:g} MB, {PICTURE_LIMIT_S:g} s"
    print(f"limits: {limits}: {'missed' if missed else 'kept'}; load {os.getloadavg()[0]:.1f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
