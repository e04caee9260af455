"""The face of a run: a live table in a terminal (here a pseudo-terminal), plain lines elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyte
import pytest

from llmatrix.cli.ended_table import FIGURES, chosen, layout
from llmatrix.stacks.local_site import sites

Place = Any  # the fixture of conftest.py, which is no module that a test may import


class Terminal:
    """A pseudo-terminal whose screen can be read as a person sees it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.ours, self.theirs = pty.openpty()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, wait_s: float = 0.1) -> bool:
        """Take in what was written meanwhile; false when the other side is closed."""
        readable, _, _ = select.select([self.ours], [], [], wait_s)
        if not readable:
            return True
        try:
            written = os.read(self.ours, 65536)
        except OSError:
            return False
        self._stream.feed(written)
        return bool(written)

    def until(self, condition: Callable[[str], Any], seconds: float = 60.0) -> str:
        """Give the screen at the first moment at which it is as wanted."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            assert time.monotonic() < deadline, f"not seen; the screen is\n{self.text}"
            self.read()
        return self.text

    def end(self, process: subprocess.Popen[Any], seconds: float = 60.0) -> str:
        """Read to the end of the process, and give the last screen."""
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; the screen is\n{self.text}"
            self.read()
        while select.select([self.ours], [], [], 0)[0] and self.read(0):
            pass
        return self.text


Start = Callable[..., tuple[Terminal, subprocess.Popen[Any]]]


@pytest.fixture
def start(place: Place) -> Iterator[Start]:
    opened: list[Terminal] = []

    def go(*arguments: str, columns: int = 100, rows: int = 30) -> Any:
        terminal = Terminal(columns, rows)
        opened.append(terminal)
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.theirs)
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        process = place.start(
            *arguments, **ends, env=environment, start_new_session=True, text=False
        )
        return terminal, process

    yield go
    for terminal in opened:
        os.close(terminal.ours)
        os.close(terminal.theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "rows"), [(60, 18), (140, 40)])
def test_the_table_fills_and_progress_and_the_time_left_are_told(
    place: Place, start: Start, columns: int, rows: int
) -> None:
    workload = {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 30},
        "warmup": 0,
        "duration": "2s",
    }
    name = "a label with many words, of nearly sixty characters"
    matrix = {
        "workload.output_len": [4, 5],
        "stack.engine.max_num_seqs": [{"name": name, "value": 64}],
    }
    file = place.write(workload=workload, matrix=matrix)
    terminal, process = start("run", file, columns=columns, rows=rows)
    # A picture may be met half drawn, so that all of it is waited for, not only its last line.
    terminal.until(
        lambda text: (
            re.search(r"^lane 0 output_len=\d.* window · [1-9]\d* answered", text, re.MULTILINE)
            and "0/2 trials · about " in text
        )
    )
    assert terminal.screen.cursor.hidden
    terminal.until(
        lambda text: (
            re.search(r"1/2 trials( · 1 invalid)? · about \d+ s left", text)
            and re.search(r"^output_len +max_num_", text, re.MULTILINE)
        )
    )
    last = terminal.end(process)
    assert process.returncode == 0
    assert re.search(r"2/2 trials( · \d invalid)? · took ", last)
    rows_told = [line for line in last.splitlines() if re.match(r"[45] +a label", line)]
    assert len(rows_told) == 2
    assert all(re.search(r"(valid|invalid.*)$", line) for line in rows_told)
    assert ("cached" in last) is (columns > 100)
    assert f"next: llmatrix report {place.folder}"[:columns] in last
    assert not terminal.screen.cursor.hidden


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(place: Place, start: Start) -> None:
    workload = {"kind": "random", "question_len": 8, "output_len": 4, "load": {"rate": 20}}
    file = place.write(workload={**workload, "warmup": 0, "duration": "60s"})
    terminal, process = start("run", file)
    terminal.until(lambda text: re.search(r"window · [1-9]\d* answered", text))
    process.send_signal(signal.SIGINT)
    last = terminal.end(process, 30.0)
    assert process.returncode == 130
    assert "stopping; once more to stop at once" in last
    told = " ".join(last.split())
    assert (
        "error: stopped; 0 of 2 trials done and kept. Go on with the same command: "
        f"llmatrix run {file}"
    ) in told
    assert "Traceback" not in last
    assert not terminal.screen.cursor.hidden
    place.nothing_runs()
    assert list(sites()) == []


@pytest.mark.slow
def test_the_second_ctrl_c_ends_at_once_and_leaves_a_usable_terminal(
    place: Place, start: Start
) -> None:
    file = place.write(stack={"kind": "simulated", "engine": {"startup": "60s"}})
    terminal, process = start("run", file)
    terminal.until(lambda text: re.search(r"^lane 0 .* server$", text, re.MULTILINE))
    place.until(lambda: len(place.running()) > 2)
    with place.frozen(but=process.pid):
        process.send_signal(signal.SIGINT)
        terminal.until(lambda text: "stopping; once more to stop at once" in text)
        process.send_signal(signal.SIGINT)
        last = terminal.end(process, 5.0)
    assert process.returncode == 130
    assert "ended at once; what stands is ended by the same command, or by `llmatrix gc`" in last
    assert not terminal.screen.cursor.hidden
    assert place.running()
    assert place("gc").code == 0
    place.nothing_runs()


@pytest.mark.slow
def test_without_a_terminal_there_are_plain_lines(place: Place) -> None:
    said = place.finish("run", place.write())
    assert said.code == 0
    assert said.out == ""
    assert "\x1b" not in said.err
    stamp = r"\d\d:\d\d:\d\d [0-9a-f]{8}"
    assert len(re.findall(rf"^{stamp} begins: output_len=[45]$", said.err, re.MULTILINE)) == 2
    ended = re.findall(rf"^{stamp} ([12])/2 .*; about \d+ s left$", said.err, re.MULTILINE)
    assert ended == ["1", "2"]


@pytest.mark.slow
def test_whole_answers_are_told_by_what_they_have(place: Place) -> None:
    """They have no first token and no gaps, so those figures are not printed as dashes."""
    workload = {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 20},
        "warmup": 0,
        "duration": "1s",
        "stream": False,
    }
    said = place.finish("run", place.write(workload=workload, matrix=None))
    assert said.code == 0
    (ended,) = re.findall(r" 1/1 (?:in)?valid\b.*", said.err)
    assert re.search(
        r": E2E p50 [\d.,]+ ms, output [\d.,]+ tok/s, requests [\d.,]+ req/s, cached 0.00;", ended
    )
    assert "TTFT" not in ended
    assert "–" not in ended


def test_the_table_has_a_column_for_what_some_trial_has(
    synthetic: Any, record_of: Callable[..., Any], failure_of: Callable[..., Any]
) -> None:
    shape = synthetic()
    streamed = record_of(shape, 0, {}, 0)
    gone = dict.fromkeys((*streamed.metrics, "ttft_ms_p50", "itl_ms_p50"))
    whole = record_of(shape, 0, {}, 0, metrics=gone | {"e2e_ms_p50": 12.5, "requests_per_s": 3.0})
    failed = failure_of(shape, {}, 0)

    def headings(*results: Any) -> list[str]:
        return [heading for heading, _, _ in chosen(results)]

    assert headings(whole) == ["E2E p50", "output", "requests", "cached"]
    assert headings(whole, streamed) == ["TTFT p50", "output", "ITL p50", "cached"]
    assert headings(failed) == ["TTFT p50", "output", "ITL p50", "cached"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("needs", [[], [4], [4, 60, 12], [9] * 20, [60] * 20])
def test_a_line_of_the_table_always_fits(width: int, needs: list[int]) -> None:
    fits = layout(width, needs, 50)
    figures = fits.figures * 10
    taken = sum(label + 2 for label in fits.labels) + figures + fits.verdict
    hidden = 3 if len(fits.labels) < len(needs) else 0
    assert taken + hidden <= max(width, 30)
    assert fits.figures >= 1
    assert fits.verdict >= 7
    assert all(label <= need for label, need in zip(fits.labels, needs, strict=False))
    assert bool(fits.labels) is bool(needs)


def test_labels_stay_whole_where_there_is_room() -> None:
    fits = layout(120, [6, 10, 20], 7)
    assert fits.labels == (6, 10, 20)
    assert fits.figures == len(FIGURES)
    assert fits.verdict == 7
