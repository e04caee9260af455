"""Several processes send one workload: together they are what one alone would be."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.harness.native.parent import orders_of
from llmatrix.harness.native.schedule import arrivals, share
from llmatrix.harness.native.sharding import shards
from llmatrix.harness.native.sources import Traffic
from llmatrix.harness.registry import harness
from llmatrix.pace import Pace
from llmatrix.spec.workloads import Workload

Start = Callable[..., Any]
Go = Callable[..., Any]

WORKLOAD: TypeAdapter[Workload] = TypeAdapter(Workload)


def schedule(count: int, seed: int) -> list[tuple[int, float]]:
    """Merge what each of ``count`` shards would send in 10 minutes at 8/s."""
    merged: list[tuple[int, float]] = []
    for shard in range(count):
        mine = share(arrivals(Pace(8.0), 1.0, seed), shard, count)
        merged += takewhile(lambda due: due[1] < 600.0, mine)
    return sorted(merged)


@pytest.mark.parametrize("seed", range(3))
def test_the_schedule_is_the_same_for_any_number_of_shards(seed: int) -> None:
    alone = schedule(1, seed)
    assert schedule(2, seed) == schedule(8, seed) == alone
    assert [number for number, _ in alone] == list(range(len(alone)))
    due = np.array([at for _, at in schedule(8, seed)])
    assert stats.kstest(np.diff(due), "expon", args=(0, 1 / 8)).pvalue > 0.001
    # Of one shard of eight, gaps are sums of eight exponential ones: no shard repeats another's.
    one = np.array([at for number, at in alone if number % 8 == 3])
    assert stats.kstest(np.diff(one), "gamma", args=(8, 0, 1 / 8)).pvalue > 0.001


def asked(**fields: Any) -> Workload:
    document = {"kind": "random", "question_len": 9, "output_len": 100, "load": {"rate": 10}}
    return WORKLOAD.validate_python(document | fields)


@pytest.mark.parametrize(
    ("fields", "cores", "expected"),
    [
        ({}, 8, 1),
        ({"load": {"rate": 200}}, 8, 1),  # 200 x (100 + 15) = 23,000 events/s
        ({"load": {"rate": 400}}, 8, 2),
        ({"load": {"rate": 400}}, 1, 1),
        ({"load": {"ramp": [{"rate": 1, "to": 400, "duration": 9}]}}, 8, 2),
        ({"load": {"concurrency": 256}}, 8, 1),  # 256 x 100 x 115 / 100 = 29,440 events/s
        ({"load": {"concurrency": 512}}, 8, 2),
        ({"load": {"concurrency": 1024}}, 8, 4),
        ({"load": {"concurrency": 1024}}, 2, 2),
        ({"load": {"rate": 400}, "stream": False}, 8, 1),
        ({"load": {"rate": 400}, "shards": 1}, 8, 1),
        ({"shards": 5}, 2, 5),
        ({"kind": "multi-turn", "turns": 4, "load": {"rate": 100}}, 8, 2),
    ],
)
def test_the_rule_for_auto(fields: dict[str, Any], cores: int, expected: int) -> None:
    assert shards(asked(**fields), cores) == expected


def test_each_shard_has_its_own_prompts_and_they_are_those_of_one_alone(
    tmp_path: Path, tools: ModuleType
) -> None:
    orders = orders_of(tools.job(tmp_path, "http://h:1", kind="shared-prefix", groups=3,
                                 prefix_len=20, shards=2, duration=2.0))  # fmt: skip
    alone = Traffic(replace(orders, shards=1), None)
    numbers = []
    for shard in range(2):
        traffic = Traffic(replace(orders, shard=shard), None)
        due = list(takewhile(lambda each: each[1] < 2.0, traffic.due()))
        numbers += [number for number, _ in due]
        for number, _ in due:
            assert traffic.bodies.body(number) == alone.bodies.body(number)
    assert sorted(numbers) == list(range(40))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_an_open_loop_in_several_processes_is_one(truth: Start, go: Go, count: int) -> None:
    server = truth()
    load = {"rate": 60.0, "arrivals": "constant"}
    ran = go(server.url, load=load, warmup=0.3, duration=1.0, shards=count)
    assert [row["request"] for row in ran.rows] == list(range(len(ran.rows)))
    assert [row["scheduled_s"] for row in ran.rows] == pytest.approx(
        [number / 60 for number in range(len(ran.rows))]
    )
    assert len(ran.window) == 60
    assert {row["error"] for row in ran.window} == {None}
    prompts = [tuple(seen.asked["prompt"]) for seen in server.seen]
    assert len(set(prompts)) == len(prompts)
    assert len(ran.measurement.senders) == count
    assert f"sent by {count} processes" in ran.measurement.notes
    assert ran.measurement.client_cpu == max(s.cpu for s in ran.measurement.senders)
    lags = [s.loop_lag_ms_p99 for s in ran.measurement.senders if s.loop_lag_ms_p99 is not None]
    assert ran.measurement.loop_lag_ms_p99 == max(lags, default=None)


@pytest.mark.slow
def test_a_closed_loop_in_several_processes_is_one(truth: Start, go: Go, tools: ModuleType) -> None:
    server = truth(tools.answers(0.02, 0.005))
    ran = go(server.url, load={"concurrency": 5}, warmup=0.4, duration=1.0, shards=2)
    assert server.connections == 5
    assert len({row["request"] for row in ran.rows}) == len(ran.rows)
    events = sorted(
        (moment, step)
        for row in ran.rows
        for moment, step in ((row["sent_s"], 1), (row["end_s"], -1))
        if moment is not None
    )
    flying = peak = 0
    for _, step in events:
        flying += step
        peak = max(peak, flying)
    assert peak == 5
    assert {row["error"] for row in ran.window} == {None}
    due = [row["scheduled_s"] for row in ran.rows]
    assert due == sorted(due)


@pytest.mark.slow
def test_progress_counts_all_shards(truth: Start, go: Go) -> None:
    ran = go(truth().url, load={"rate": 40.0, "arrivals": "constant"}, duration=2.0, shards=2)
    assert max(told.sent for told in ran.progress) > 40


def children(parent: int) -> list[int]:
    """Find the measuring processes that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(stat[1]) == parent and b"native.child" in line:
                found.append(int(entry.name))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_dead_shard_fails_the_workload_and_ends_the_others(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    server = truth()
    job = tools.job(tmp_path, server.url, duration=600.0, shards=3)
    killed: list[int] = []

    def kill_one(_: Any) -> None:
        mine = children(os.getpid())
        if not killed and len(mine) == 3:
            killed.append(mine[1])
            os.kill(mine[1], signal.SIGKILL)

    with pytest.raises(StepFailure, match=r"process \d of 3, ended with code -9") as caught:
        harness("native").run(job, progress=kill_one, stop=threading.Event())
    assert caught.value.failure is FailureClass.WORKLOAD
    assert children(os.getpid()) == []
    assert not (tmp_path / "spool").exists()


@pytest.mark.slow
def test_a_shard_that_breaks_shows_its_own_log(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "spool" / "requests-1").mkdir(parents=True)
    job = tools.job(tmp_path, truth().url, duration=600.0, shards=2)
    with pytest.raises(StepFailure, match="process 2 of 2, ended with code 1") as caught:
        harness("native").run(job, progress=lambda _: None, stop=threading.Event())
    assert "requests-1" in caught.value.log


@pytest.mark.slow
def test_all_shards_stop_when_told(truth: Start, tools: ModuleType, tmp_path: Path) -> None:
    server = truth()
    stop = threading.Event()
    job = tools.job(tmp_path, server.url, duration=600.0, shards=2)
    begun = time.monotonic()
    with pytest.raises(Stopped):
        harness("native").run(job, progress=lambda _: stop.set(), stop=stop)
    assert time.monotonic() - begun < 60
    tools.until(lambda: not server._transports)


@pytest.mark.slow
def test_an_outage_seen_by_one_shard_ends_all(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    server = truth(tools.answers(0.05))
    job = tools.job(tmp_path, server.url, load={"concurrency": 4}, duration=60.0, shards=2)
    died = threading.Event()

    def watch(progress: Any) -> None:
        if progress.done >= 5 and not died.is_set():
            died.set()
            server.close()

    with pytest.raises(StepFailure, match="answered nothing for 5 s") as caught:
        harness("native").run(job, progress=watch, stop=threading.Event())
    assert caught.value.failure is FailureClass.SERVER
    rows, _ = tools.left(tmp_path)
    assert len(rows) > 5
    assert all(row["end_s"] is not None for row in rows)
