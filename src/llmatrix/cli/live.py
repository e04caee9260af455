"""A run as it is watched: a calm live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llmatrix.cli.run_state import LaneState, RunState
from llmatrix.cli.wording import duration, levels, verdict
from llmatrix.results.record import Failure, Record
from llmatrix.steps.events import Event, TrialEnded, TrialRetried, TrialStarted, Warned

_FIGURES: Final = (
    ("TTFT p50", "ttft_ms_p50", "ms"),
    ("ITL p50", "itl_ms_p50", "ms"),
    ("output", "output_tokens_per_s", "tok/s"),
    ("cached", "prefix_cache_hit_ratio", ""),
)
_BAR: Final = 24


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
                left = duration(self._state.remaining_s())
                count = f"{self._state.done}/{self._state.planned}"
                self._line(f"{trial.id[:8]} {count} {_told(result)}; about {left} left")
            case _:
                pass

    def _line(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        with contextlib.suppress(BrokenPipeError):  # whoever read the log stopped; the run goes on
            print(f"{stamp} {text}", file=sys.stderr, flush=True)  # noqa: T201 - the log face


class LiveTable:
    """A table that fills trial by trial, with what each lane does below it."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self._picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        self._state.apply(event)

    def _picture(self) -> RenderableType:
        lanes = list(self._state.lanes.items())
        rows = max(self._console.height - len(lanes) - 8, 4)
        return Group(
            _ended_table(self._state, rows),
            *(_lane_line(index, lane) for index, lane in lanes if lane.trial is not None),
            *(Text(f"warning: {w}", style="yellow") for w in self._state.warnings[-2:]),
            _total_line(self._state),
        )


def _ended_table(state: RunState, rows: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    paths = list(state.ended[-1][0].levels) if state.ended else []
    for path in paths:
        table.add_column(path.rsplit(".", 1)[-1])
    for heading, _, unit in _FIGURES if state.ended else ():
        table.add_column(f"{heading} {unit}".strip(), justify="right")
    if state.ended:
        table.add_column("verdict")
    for trial, result in state.ended[-rows:]:
        figures = [_figure(result, name) for _, name, _ in _FIGURES]
        style = "" if isinstance(result, Record) and result.valid else "red"
        told = [trial.levels.get(path, "") for path in paths]
        table.add_row(*told, *figures, Text(verdict(result), style=style, overflow="ellipsis"))
    return table


def _figure(result: Record | Failure, name: str) -> str:
    value = result.metrics.get(name) if isinstance(result, Record) else None
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"  # noqa: PLR2004 - three digits


def _lane_line(index: int, lane: LaneState) -> RenderableType:
    line: Table = Table.grid(padding=(0, 1))
    doing = Text(f"lane {index}", style="bold cyan")
    told = Text(levels(lane.trial) if lane.trial else "", overflow="ellipsis", no_wrap=True)
    if lane.note:
        line.add_row(doing, told, Text(lane.note, style="yellow", overflow="ellipsis"))
        return line
    progress = lane.progress
    if progress is None:
        line.add_row(doing, told, Text(str(lane.step or ""), style="dim"))
        return line
    bar = ProgressBar(progress.total_s, min(progress.elapsed_s, progress.total_s), width=_BAR)
    counts = f"{progress.phase} · {progress.done:,} answered"
    if progress.failed:
        counts += f" · {progress.failed:,} failed"
    line.add_row(doing, told, bar, Text(counts, style="dim"))
    return line


def _total_line(state: RunState) -> RenderableType:
    line: Table = Table.grid(padding=(0, 1))
    told = f"{state.done}/{state.planned} trials"
    for count, word in (
        (state.reused, "reused"),
        (state.invalid, "invalid"),
        (state.failed, "failed"),
    ):
        if count:
            told += f" · {count} {word}"
    told += f" · about {duration(state.remaining_s())} left"
    bar = ProgressBar(max(state.planned, 1), state.done, width=_BAR)
    line.add_row(bar, Text(told, style="bold"))
    return line


def _told(result: Record | Failure) -> str:
    if isinstance(result, Failure):
        return verdict(result)
    named = (f"{h} {_figure(result, name)} {unit}".strip() for h, name, unit in _FIGURES)
    return f"{verdict(result)}: {', '.join(named)}"
