"""The report for a terminal: treatments, main effects, and everything that went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleRenderable, Group
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmatrix.report.headline import findings
from llmatrix.report.main_effects import no_interactions
from llmatrix.report.shown import WITHHELD, Shown, duration, estimate_text, number, plain
from llmatrix.report.summary import Effect, Kept, Summary, Treatment
from llmatrix.results.record import Failure, Record

PLAIN_WIDTH = 10_000
"""Columns of a console that is no terminal: nothing is ever cut or wrapped in a file."""
LISTED = 20
"""Most invalid or failed trials that are listed one by one; the page lists all."""

_FIRST_TO_GO = (
    "itl_ms_p99",
    "e2e_ms_p99",
    "ttft_ms_p90",
    "requests_per_s",
    "prefix_cache_hit_ratio",
    "e2e_ms_p50",
    "ttft_ms_p99",
)
"""Metrics that a narrow terminal leaves out, in this order."""
_KEPT_STYLE = {Kept.YES: "green", Kept.NO: "bold red", Kept.UNSURE: "yellow", Kept.UNKNOWN: "dim"}


def print_report(summary: Summary, console: Console) -> None:
    """Print the whole report; on anything but a terminal plain, wide and never cut."""
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    for part in _parts(summary, console):
        console.print(part, soft_wrap=not isinstance(part, Table | Padding | Group))


def _parts(summary: Summary, console: Console) -> Iterator[ConsoleRenderable]:
    yield _title(summary)
    if summary.treatments:
        for finding in findings(summary):
            yield Text(f"  {plain(finding.sentence)}", style="" if finding.sure else "dim")
        yield Text()
        yield _treatments(summary, console)
        yield from _footnotes(summary)
        for effect in summary.effects:
            yield Text()
            yield _effect(summary, effect, console)
        if why := no_interactions(summary):
            yield Text()
            yield _note(why)
    yield from _invalid(summary)
    yield from _failures(summary)
    yield from _rest(summary)


def counts(summary: Summary) -> str:
    """Say how many trials there are of each kind."""
    data = summary.dataset
    parts = [f"{summary.valid_count} valid"]
    if summary.invalid:
        parts.append(f"{len(summary.invalid)} invalid")
    if data.failures:
        parts.append(f"{len(data.failures)} failed")
    if data.missing:
        parts.append(f"{len(data.missing)} planned and not yet run")
    return f"{len(data.records)} trials measured: {', '.join(parts)}"


def _title(summary: Summary) -> Text:
    title = Text.assemble((plain(summary.dataset.experiment), "bold"), f"  {counts(summary)}")
    if summary.simulated:
        title.append("  SIMULATED: no real model answered", style="bold yellow")
    return title


def _treatments(summary: Summary, console: Console) -> Group:
    table, hidden = _widest(summary, console, lambda metrics: _treatment_table(summary, metrics))
    note = [_note(f"a wider terminal also shows {', '.join(hidden)}")] if hidden else []
    return Group(table, *note)


def _widest(
    summary: Summary, console: Console, make: Callable[[list[Shown]], Table]
) -> tuple[Table, list[str]]:
    """Make the widest table that fits, and name what it leaves out: what says least goes first."""
    metrics = summary.key_metrics
    told = {m.name for m in metrics if any(t.sample(m.name) for t in summary.treatments)}
    silent = [metric.name for metric in metrics if metric.name not in told]
    wide = console.options.update(max_width=PLAIN_WIDTH)
    table = make(metrics)
    for name in (*silent, *_FIRST_TO_GO):
        if Measurement.get(console, wide, table).maximum <= console.width:
            break
        metrics = [metric for metric in metrics if metric.name != name]
        table = make(metrics)
    return table, [m.label for m in summary.key_metrics if m not in metrics]


def _treatment_table(summary: Summary, metrics: list[Shown]) -> Table:
    table = _table()
    for name in summary.factor_names:
        table.add_column(Text(plain(name)), overflow="fold")
    for metric in metrics:
        table.add_column(Text(metric.title), justify="right", overflow="fold")
    table.add_column("trials", justify="right")
    for objective in summary.objectives:
        table.add_column(Text(objective.text), justify="center")
    for treatment in summary.treatments:
        levels = (WITHHELD if level is None else plain(level) for level in treatment.levels)
        figures = (estimate_text(treatment.estimate(metric.name)) for metric in metrics)
        verdicts = (objective.judge(treatment) for objective in summary.objectives)
        table.add_row(
            *(Text(level) for level in levels),
            *(Text(figure) for figure in figures),
            _trial_count(treatment),
            *(Text(verdict, style=_KEPT_STYLE[verdict]) for verdict in verdicts),
        )
    return table


def _trial_count(treatment: Treatment) -> Text:
    valid, every = len(treatment.valid), len(treatment.records)
    if valid == every:
        return Text(str(valid))
    return Text(f"{valid} of {every}, {every - valid} invalid", style="bold red")


def _footnotes(summary: Summary) -> Iterator[Text]:
    if any(t.estimate(m.name).half_width for t in summary.treatments for m in summary.key_metrics):
        yield _note("mean \u00b1 half-width of the 95 % interval over replicates (Student t)")
    elif any(treatment.valid for treatment in summary.treatments):
        yield _note("one replicate has no interval; set replicates: 3 to see what is chance")
    yield from (_note(f"{WITHHELD} {reason}") for reason in withheld(summary))


def withheld(summary: Summary) -> list[str]:
    """Give each reason for withheld figures once, after the metrics that it withholds.

    What follows a semicolon (how many samples there were) differs from trial to trial and is
    left to the heads of single figures.
    """
    labels: dict[str, dict[str, None]] = {}
    for metric in summary.key_metrics:
        for treatment in summary.treatments:
            reason = (treatment.withheld(metric.name) or "").partition(";")[0]
            labels.setdefault(reason, {})[metric.label] = None
    return [plain(f"{', '.join(part)}: {reason}") for reason, part in labels.items() if reason]


def _note(text: str) -> Text:
    return Text(f"  {text}", style="dim")


def _effect(summary: Summary, effect: Effect, console: Console) -> Group:
    path = plain(summary.dataset.factors[effect.factor])
    table, _ = _widest(summary, console, lambda metrics: _effect_table(summary, effect, metrics))
    note = "mean over the other factors; \u2190 best, ~ not distinguishable from it"
    return Group(Text.assemble((path, "bold"), (f"  {note}", "dim")), table)


def _effect_table(summary: Summary, effect: Effect, metrics: list[Shown]) -> Table:
    table = _table()
    table.add_column(Text(plain(summary.factor_names[effect.factor])), overflow="fold")
    for metric in metrics:
        table.add_column(Text(metric.title), justify="right")
    for level in effect.levels:
        row = [Text(WITHHELD if level is None else plain(level))]
        for metric in metrics:
            text = Text(estimate_text(effect.estimates[level, metric.name]))
            hint = effect.hint(level, metric.name)
            row.append(text.append(f" {hint or ' '}", style="green"))
        table.add_row(*row)
    return table


def _invalid(summary: Summary) -> Iterator[Text]:
    if not summary.invalid:
        return
    yield Text(
        f"\nInvalid trials ({len(summary.invalid)}): their figures are in no mean", "bold red"
    )
    for record in summary.invalid[:LISTED]:
        yield Text(f"  {record.trial}  {describe(record)}")
        for check in record.failed_checks:
            advice = f"; {check.advice}" if check.advice else ""
            yield _note(
                plain(f"    {check.name} {number(check.figure)}, must be {check.limit}{advice}")
            )
    yield from _more(len(summary.invalid))


def _failures(summary: Summary) -> Iterator[Text]:
    failures = summary.dataset.failures
    if not failures:
        return
    yield Text(f"\nFailed trials ({len(failures)}): run again to try them again", "bold red")
    for failure in failures[:LISTED]:
        last = failure.attempts[-1]
        yield Text(f"  {failure.trial}  {describe(failure)}")
        tries = f"{len(failure.attempts)} tries" if len(failure.attempts) > 1 else "1 try"
        yield _note(plain(f"    step {last.step}, {tries}: {last.message}"))
    yield from _more(len(failures))


def _more(count: int) -> Iterator[Text]:
    if count > LISTED:
        yield _note(f"and {count - LISTED} more; the page lists them all")


def _rest(summary: Summary) -> Iterator[Text]:
    data = summary.dataset
    problems = [*data.problems, *data.request_problems()]
    if problems:
        yield Text(f"\nNot readable ({len(problems)}):", "bold yellow")
        yield from (Text(f"  {plain(problem)}") for problem in problems[:LISTED])
        yield from _more(len(problems))
    if data.missing:
        command = data.manifest.command_line if data.manifest else ""
        how = ": run again to finish them"
        if "--only" in command:
            # That command chose some of the plan's trials; it would not reach the others.
            how = ": run again without --only to finish them"
        elif command:
            how += f": {command}"
        yield Text(f"\n{len(data.missing)} planned trials are not yet run{plain(how)}")
    if data.records:
        spent = sum(step.seconds for record in data.records for step in record.steps)
        windows = sum(end - start for start, end in (r.window_s for r in data.records))
        share = f" ({windows / spent:.0%} of it measured windows)" if spent else ""
        yield _note(f"\n  {duration(spent)} were spent on the measured trials{share}")


def describe(trial: Record | Failure) -> str:
    """Name a trial by its levels and replicate."""
    levels = " ".join(f"{path.rpartition('.')[2]}={level}" for path, level in trial.levels.items())
    which = {**trial.replicate}
    control = which.pop("control", 0)
    replicate = "/".join(str(number) for number in which.values())
    told = f"control {control}" if control else f"replicate {replicate}"
    return plain(f"{levels} {told}".strip())


def _table() -> Table:
    return Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False
    )
