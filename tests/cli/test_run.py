"""`run`, `status` and `gc` as a user calls them, on the simulated stack."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from llmatrix.engines.local import LocalEngine
from llmatrix.stacks.local_site import sites
from llmatrix.steps.events import Warned, Watch

Place = Any  # the fixture of conftest.py, which is no module that a test may import

pytestmark = pytest.mark.slow


def test_a_run_a_second_run_and_a_fresh_run(place: Place) -> None:
    file = place.write()
    missing = place("status", file)
    assert missing.code == 0
    assert missing.out.splitlines() == [
        "small: 2 trials: 0 valid, 0 invalid, 0 failed, 2 missing",
        "  `llmatrix run` measures what is missing or failed",
    ]
    one = place("run", file, "--only", "output_len=5")
    assert one.code == 0
    (first,) = place.records()
    assert "1 of 1 trial measured" in one.err.splitlines()

    rest = place("run", file)
    assert rest.code == 0
    assert "1 trial of 2 measured before, and reused" in rest.err.splitlines()
    whole = place.records()
    assert len(whole) == 2
    assert sum(" begins: " in line for line in rest.err.splitlines()) == 1

    again = place("run", file)
    assert again.code == 0
    assert " begins: " not in again.err
    assert again.err.splitlines()[-2:] == [
        "2 of 2 trials measured",
        f"next: llmatrix report {place.folder}/results/small",
    ]
    assert place.records() == whole

    status = place("status", file)
    assert re.match(r"small: 2 trials: \d valid, \d invalid, 0 failed, 0 missing", status.out)

    assert place("run", file, "--fresh", "--only", "output_len=5", "--engine", "local").code == 0
    fresh = place.records()
    assert fresh[first]["started_at"] > whole[first]["started_at"]
    (other,) = fresh.keys() - {first}
    assert fresh[other] == whole[other]
    assert list(sites()) == []


def test_what_is_kept_is_told_used_and_ended(place: Place) -> None:
    file = place.write()
    assert place("run", file, "--only", "output_len=4", "--keep").code == 0
    (site,) = sites()
    assert place.running()
    said = place("status", file).out.splitlines()
    assert said[-1] == f"{site.name}: kept up; `llmatrix gc --kept` ends it"
    assert place("gc").out == "nothing is left standing\n"
    assert place("run", file, "--keep").code == 0
    reused = [record["steps"] for record in place.records().values()]
    assert (
        sum(
            step["step"] == "server" and step["outcome"] == "applied"
            for steps in reused
            for step in steps
        )
        == 1
    )
    assert place("gc", "--kept", "--dry-run").out == f"would remove {site.name}\n"
    assert place.running()
    assert place("gc", "--kept").out == f"removed {site.name}\n"
    assert place("gc", "--kept").out == "nothing is left standing\n"
    place.nothing_runs()


def test_what_a_killed_run_left_is_told_and_removed(place: Place) -> None:
    file = place.write(workload=long_workload())
    run = place.start("run", file)
    place.until(place.load_generators)
    status = place("status", file).out.splitlines()
    (site,) = sites()
    assert status[-1] == f"{site.name}: a run is going on (pid {run.pid})"
    second = place("run", file)
    assert second.code == 3
    assert second.err.splitlines()[-1] == (
        f"error: another llmatrix (pid {run.pid}) is running this experiment on {site.name}; "
        f"wait until it has finished, or stop it with: kill -INT {run.pid}"
    )
    assert place("gc").out == "nothing is left standing\n"
    run.kill()
    run.wait()
    status = place("status", file).out.splitlines()
    assert status[-1] == f"{site.name}: left by an interrupted run; run it again, or `llmatrix gc`"
    assert place("gc", "--dry-run").out == f"would remove {site.name}\n"
    assert place.running()
    assert place("gc").out == f"removed {site.name}\n"
    place.nothing_runs()
    assert list(sites()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_cleanly_and_says_how_to_go_on(place: Place, number: int) -> None:
    file = place.write(workload=long_workload())
    run = place.start("run", file)
    place.until(place.load_generators)
    run.send_signal(number)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130
    assert err.splitlines()[-1] == (
        "error: stopped; 0 of 2 trials done and kept. "
        f"Go on with the same command: llmatrix run {file}"
    )
    place.nothing_runs()
    assert list(sites()) == []


def test_a_second_signal_ends_at_once_and_the_next_command_cleans_up(place: Place) -> None:
    file = place.write(stack={"kind": "simulated", "engine": {"startup": "60s"}})
    run = place.start("run", file)
    place.until(lambda: any((site.folder / "processes").is_dir() for site in sites()))
    place.until(lambda: list(Path(place.folder, "state").glob("sites/*/*/logs/server.log")))
    with place.frozen(but=run.pid):
        run.send_signal(signal.SIGINT)
        place.until(lambda: "stopping" in run.stderr.readline())
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=5)
    assert run.returncode == 130
    assert err.splitlines()[-1] == (
        "ended at once; what stands is ended by the same command, or by `llmatrix gc`"
    )
    assert place.running()
    assert place("gc").code == 0
    place.nothing_runs()


def test_overrides_reach_the_run_and_wrong_ones_start_nothing(place: Place) -> None:
    file = place.write()
    said = place("run", file, "--set", "workload.question_len=21", "--only", "output_len=4")
    assert said.code == 0
    (record,) = place.records().values()
    assert record["document"]["workload"]["question_len"] == 21
    wrong = place("run", file, "--engine", "tekto")
    assert wrong.code == 2
    assert wrong.err == (
        "error: --set run.engine=tekto: must be 'local' or 'tekton', not 'tekto'; "
        "did you mean 'tekton'?\n"
    )
    assert list(sites()) == []


def test_a_folder_without_rights_is_said_before_anything_is_started(place: Place) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere; tests/faults shows it with a store that is a file")
    file = place.write()
    place.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        said = place("run", file)
    finally:
        place.folder.chmod(stat.S_IRWXU)
    assert said.code == 3
    assert "there is no right to do that; change the folder's rights" in said.err


def long_workload() -> dict[str, Any]:
    return {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 20},
        "warmup": 0,
        "duration": "60s",
    }


def test_invalid_trials_are_measured_again_when_asked(place: Place) -> None:
    file = place.write()
    assert place("run", file).code == 0
    before = place.records()
    spoiled, sound = sorted(before)
    for trial, verdict in ((spoiled, "fail"), (sound, "pass")):
        record = before[trial]
        record["checks"] = [check | {"verdict": verdict} for check in record["checks"]]
        path = place.folder / "results/small" / trial / "record.json"
        path.write_text(json.dumps(record))
    again = place("run", file, "--redo-invalid")
    assert again.code == 0
    assert sum(" begins: " in line for line in again.err.splitlines()) == 1
    after = place.records()
    assert after[spoiled]["started_at"] > before[spoiled]["started_at"]
    assert after[sound] == before[sound]


def test_what_an_earlier_run_left_and_nobody_can_remove_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bring(*_: object, tell: Watch) -> int:
        tell(Warned("could not remove: Pod bench/reader\x1b[2J."))
        return 0

    monkeypatch.setattr(LocalEngine, "bring", bring)
    said = place("run", place.write(matrix=None))
    assert said.code == 0
    assert "warning: could not remove: Pod bench/reader" in said.err
    assert "\x1b" not in said.err
