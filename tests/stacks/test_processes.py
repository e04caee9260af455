"""Processes are on record before they run, and end with everything that they started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.stacks import process_table, processes
from llmatrix.stacks.waiting import until

# A server that starts helpers: one in its session, one that leaves the session for its own.
FAMILY = """
import os, subprocess, sys, time
wait = [sys.executable, "-c", "import time; time.sleep(600)"]
same = subprocess.Popen(wait)
other = subprocess.Popen(wait, start_new_session=True)
print("family", os.getpid(), same.pid, other.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(600)
"""


def printed(site: Path, word: str) -> list[str]:
    """Wait until the server printed a line that begins with ``word``; give its other words."""

    def look() -> list[str] | None:
        for line in processes.log_tail(processes.log_file(site, "server")).splitlines():
            if line.startswith(word):
                return line.split()
        return None

    found = until(look, 20.0)
    assert found is not None
    return found[1:]


def gone(*pids: int) -> bool:
    return bool(until(lambda: all(process_table.find(pid) is None for pid in pids), 10.0))


def test_identity_names_the_program_that_runs(tmp_path: Path) -> None:
    identity = processes.start("server", [sys.executable, "-c", FAMILY], tmp_path)
    pid = int(printed(tmp_path, "family")[0])
    assert identity.pid == pid
    assert processes.recorded(tmp_path) == [identity]
    assert processes.alive(identity)
    assert os.getsid(pid) == pid
    assert processes.end([identity]) == []
    assert processes.recorded(tmp_path) == []
    assert not processes.alive(identity)


def test_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    odd = ["a b", "$(echo no)", "`no`", "'\"\\", "*", "", "-n", "ü\n2"]
    code = "import sys, json; print('argv', json.dumps(sys.argv[1:]))"
    identity = processes.start("server", [sys.executable, "-c", code, *odd], tmp_path)
    assert " ".join(printed(tmp_path, "argv")) == json.dumps(odd)
    processes.end([identity])


def test_ending_takes_all_descendants(tmp_path: Path) -> None:
    identity = processes.start("server", [sys.executable, "-c", FAMILY], tmp_path)
    pids = [int(word) for word in printed(tmp_path, "family")]
    assert processes.end([identity]) == []
    assert gone(*pids)


def test_descendants_end_though_the_leader_is_dead(tmp_path: Path) -> None:
    identity = processes.start("server", [sys.executable, "-c", FAMILY], tmp_path)
    leader, same, other = (int(word) for word in printed(tmp_path, "family"))
    os.kill(leader, signal.SIGKILL)
    assert until(lambda: not processes.alive(identity), 10.0)
    assert process_table.find(same) is not None
    assert process_table.find(other) is not None
    assert processes.end([identity]) == []
    assert gone(same, other)


def test_a_member_that_overwrote_its_environment_ends_with_its_session(tmp_path: Path) -> None:
    hidden = "exec env -i sleep 600"
    code = f"import os; os.system('sleep 600 & ({hidden}) & echo family $$ $!; wait')"
    identity = processes.start("server", [sys.executable, "-c", code], tmp_path)
    pids = [int(word) for word in printed(tmp_path, "family")]
    assert until(lambda: pids[1] not in process_table.marked(processes.MARKER), 10.0)
    os.kill(identity.pid, signal.SIGKILL)
    assert processes.end([identity]) == []
    assert gone(*pids)


def test_who_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    identity = processes.start("server", [sys.executable, "-c", STUBBORN], tmp_path)
    printed(tmp_path, "ready")
    assert processes.end([identity], grace_s=0.3) == []
    assert not processes.alive(identity)


def test_a_hidden_and_stubborn_member_is_killed_after_the_others_have_gone(tmp_path: Path) -> None:
    """SIGTERM ends all who prove that the session is ours; what was known then stays known."""
    hide = f"import os, sys; os.execve(sys.executable, ['python', '-c', {STUBBORN!r}], {{}})"
    code = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {hide!r}])"
    identity = processes.start("server", [sys.executable, "-c", code], tmp_path)
    printed(tmp_path, "ready")
    session = [entry for entry in process_table.entries() if entry.session == identity.pid]
    assert len(session) == 2
    assert processes.end([identity], grace_s=0.3) == []
    assert gone(*(entry.pid for entry in session))


def test_a_recycled_number_is_never_signalled(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command, start_new_session=True) as bystander:
        try:
            entry = process_table.find(bystander.pid)
            assert entry is not None
            record = tmp_path / "processes" / f"server.{'0' * 32}"
            record.parent.mkdir()
            boot, machine = process_table.boot(), process_table.machine()
            record.write_text(f"{bystander.pid}\nMon Jan 1 10:00:00 2024\n{boot}\n{machine}\n")
            (identity,) = processes.recorded(tmp_path)
            assert not processes.alive(identity)
            assert processes.end([identity]) == []
            assert processes.recorded(tmp_path) == []
            # Nor one of an earlier boot, though start time and number are the same.
            earlier = replace(identity, started=entry.started, boot="an earlier boot")
            assert not processes.alive(earlier)
            assert processes.end([earlier]) == []
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_another_machine_is_not_judged(tmp_path: Path) -> None:
    record = tmp_path / "processes" / f"server.{'0' * 32}"
    record.parent.mkdir()
    record.write_text(f"{os.getpid()}\nsome time\nsome boot\nelsewhere\n")
    (problem,) = processes.end(processes.recorded(tmp_path))
    assert "on machine 'elsewhere'" in problem
    assert record.exists()


def test_another_llmatrix_ends_what_a_killed_one_started(tmp_path: Path) -> None:
    starter = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from llmatrix.stacks import processes
        processes.start("server", [sys.executable, "-c", {FAMILY!r}], Path({str(tmp_path)!r}))
        print("started", flush=True)
        time.sleep(600)
    """)
    command = [sys.executable, "-c", starter]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "started\n"
        pids = [int(word) for word in printed(tmp_path, "family")]
        first.kill()
    (identity,) = processes.recorded(tmp_path)
    assert processes.alive(identity)
    assert processes.end([identity]) == []
    assert gone(*pids)


def test_a_launch_without_a_place_for_its_record_runs_nothing(tmp_path: Path) -> None:
    """What a launcher does whose site was sealed while it was starting."""
    record = tmp_path / "processes" / f"server.{'0' * 32}"
    record.parent.mkdir()
    processes.seal(tmp_path)
    ran = tmp_path / "ran"
    command = processes._command(record, ["touch", str(ran)])
    assert subprocess.run(command, check=False, capture_output=True).returncode == 75
    assert not ran.exists()


def test_records_of_a_sealed_site_are_still_found(tmp_path: Path) -> None:
    identity = processes.start("server", ["sleep", "600"], tmp_path)
    processes.seal(tmp_path)
    (found,) = processes.recorded(tmp_path)
    assert (found.pid, found.launch) == (identity.pid, identity.launch)
    assert processes.end([found]) == []
    assert not processes.alive(identity)


def test_a_site_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "processes").write_text("not a folder")
    with pytest.raises(StepFailure, match="could not be started") as caught:
        processes.start("server", ["sleep", "600"], tmp_path)
    assert caught.value.failure is FailureClass.ENVIRONMENT


def test_stopped_before_it_started(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        processes.start("server", ["sleep", "600"], tmp_path, stop=stop)
    assert processes.recorded(tmp_path) == []


def test_what_cannot_be_executed_tells_so_by_its_status(tmp_path: Path) -> None:
    identity = processes.start("server", ["no-such-program"], tmp_path)
    assert until(lambda: processes.exit_status(identity) is not None, 10.0)
    assert processes.exit_status(identity) == 127
    assert "no-such-program" in processes.log_tail(processes.log_file(tmp_path, "server"))
    processes.end([identity])


def test_zombies_of_ours_are_reaped(tmp_path: Path) -> None:
    identity = processes.start("server", ["true"], tmp_path)
    assert until(lambda: not processes.alive(identity), 10.0)
    with pytest.raises(ChildProcessError):
        os.waitpid(identity.pid, os.WNOHANG)
    processes.end([identity])


def test_the_log_ends_with_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert processes.log_tail(log, 20) == "line 998\nline 999\n"
    assert processes.log_tail(tmp_path / "none.log") == ""


def test_a_name_full_of_parentheses_is_read_rightly() -> None:
    line = "42 (a) (R 7) x) S 1 40 41 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 987654 0 0"
    assert process_table.parse_stat(line) == process_table.Entry(42, 41, "987654")
    assert process_table.parse_stat(line.replace(") S", ") Z")) is None
    assert process_table.parse_stat("") is None


def test_ps_tells_what_proc_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no /proc, ``ps`` is asked; here it can be held against it."""
    if shutil.which("ps") is None:
        pytest.skip("there is no ps on this machine")
    identity = processes.start("server", ["sleep", "600"], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(process_table, "_has_proc", lambda: False)
        entry = process_table.find(identity.pid)
        assert entry is not None
        assert entry.session == identity.pid
        assert entry in process_table.entries()
        assert process_table.marked(processes.MARKER)[identity.pid] == identity.launch
        assert os.getpid() not in process_table.marked(processes.MARKER)
    assert processes.end([identity]) == []
