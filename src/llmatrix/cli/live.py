"""A run as it is watched: a calm live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llmatrix.cli.ended_table import chosen, ended_table, figure
from llmatrix.cli.printable import printable
from llmatrix.cli.run_state import LaneState, RunState
from llmatrix.cli.wording import counted, duration, levels, verdict
from llmatrix.results.record import Failure, Record
from llmatrix.steps.events import Event, TrialEnded, TrialRetried, TrialStarted, Warned

_BAR: Final = 24
_WIDE: Final = 80
_AROUND: Final = 5
"""Lines around trials and lanes: two of headings, stopping, the total, and one for the cursor."""
_STOPPING: Final = "stopping; once more to stop at once"
_LEAST: Final = 4


class Face(Protocol):
    """Something that shows a run; a context manager and a watcher of events."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __call__(self, event: Event) -> None:
        """Show what happened."""

    def stopping(self) -> None:
        """Show that the run is being stopped; called from a signal handler, so takes no lock."""


def face(state: RunState) -> Face:
    """Choose by where standard error goes."""
    return LiveTable(state) if sys.stderr.isatty() else PlainLines(state)


class PlainLines:
    """One line for each trial that begins, is tried again or ends; for logs."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        self._state.apply(event)
        match event:
            case Warned(message=message):
                self._line(f"warning: {message}")
            case TrialStarted(trial=trial):
                self._line(f"{trial.id[:8]} begins: {levels(trial)}")
            case TrialRetried(trial=trial, message=message, pause_s=pause_s):
                self._line(f"{trial.id[:8]} again in {pause_s:.0f} s: {message}")
            case TrialEnded(trial=trial, result=result):
                count = f"{self._state.done}/{self._state.planned}"
                self._line(f"{trial.id[:8]} {count} {_told(result)}; {_left(self._state)}")
            case _:
                pass

    def stopping(self) -> None:
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"{_STOPPING}\n".encode())

    def _line(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        with contextlib.suppress(BrokenPipeError):  # whoever read the log stopped; the run goes on
            print(f"{stamp} {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201 - the log face


class LiveTable:
    """A table that fills trial by trial, with what each lane does below it."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._stopping = False
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        self._state.apply(event)
        if isinstance(event, Warned):  # stays above the table, whole
            self._console.print(Text(f"warning: {printable(event.message)}", style="yellow"))

    def stopping(self) -> None:
        self._stopping = True

    def _picture(self) -> RenderableType:
        width, height = self._console.size
        lanes = [(i, ln) for i, ln in sorted(self._state.lanes.items()) if ln.trial is not None]
        shown = lanes[: max(height // 2 - _AROUND, 1)]
        rows = max(height - len(shown) - _AROUND, 1)
        more = len(lanes) - len(shown)
        ended = self._state.ended[-rows:]
        return Group(
            *([ended_table(ended, width)] if ended else []),
            *(_lane_line(index, lane, width) for index, lane in shown),
            *([Text(f"… and {counted(more, 'more lane')}", style="dim")] if more else []),
            *([Text(_STOPPING, style="yellow")] if self._stopping else []),
            _total_line(self._state, width),
        )


def _lane_line(index: int, lane: LaneState, width: int) -> Table:
    name = Text(f"lane {index}", style="bold cyan")
    told = Text(levels(lane.trial) if lane.trial else "")
    if lane.note:
        return _line(width, name, Text(printable(lane.note), style="yellow"))
    progress = lane.progress
    if progress is None:
        return _line(width, name, told, Text(str(lane.step or ""), style="dim"))
    counts = f"{progress.phase} · {progress.done:,} answered"
    if progress.failed:
        counts += f" · {progress.failed:,} failed"
    elapsed_s = min(progress.elapsed_s, progress.total_s)
    bar = ProgressBar(progress.total_s, elapsed_s, width=_bar(width))
    return _line(width, name, told, bar, Text(counts, style="dim"))


def _line(width: int, name: Text, told: Text, *rest: RenderableType) -> Table:
    """Put parts on one line; what is told gives way where the terminal is narrow."""
    line: Table = Table.grid(padding=(0, 1))
    line.add_column(no_wrap=True)
    taken = name.cell_len + 1 + sum(_wide(part, width) + 1 for part in rest)
    room = max(width - taken, _LEAST)
    line.add_column(no_wrap=True, overflow="ellipsis", max_width=room)
    for _ in rest:
        line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_row(name, told, *rest)
    return line


def _wide(part: RenderableType, width: int) -> int:
    return part.cell_len if isinstance(part, Text) else _bar(width)


def _bar(width: int) -> int:
    return _BAR if width >= _WIDE else _BAR // 3


def _total_line(state: RunState, width: int) -> RenderableType:
    told = f"{state.done:,}/{counted(state.planned, 'trial')}"
    for count, word in (
        (state.reused, "reused"),
        (state.invalid, "invalid"),
        (state.failed, "failed"),
    ):
        if count:
            told += f" · {count:,} {word}"
    over = state.done >= state.planned
    time_told = f"took {duration(state.elapsed_s())}" if over else _left(state)
    line: Table = Table.grid(padding=(0, 1))
    line.add_column(width=_bar(width))
    line.add_column(no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(max(state.planned, 1), state.done, width=_bar(width))
    line.add_row(bar, Text(f"{told} · {time_told}", style="bold"))
    return line


def _left(state: RunState) -> str:
    return f"about {duration(state.remaining_s())} left"


def _told(result: Record | Failure) -> str:
    if isinstance(result, Failure):
        return verdict(result)
    named = [
        f"{heading} {figure(result, name)} {unit}".strip()
        for heading, name, unit in chosen([result])
        if result.metrics.get(name) is not None
    ]
    return f"{verdict(result)}: {', '.join(named)}" if named else verdict(result)
