"""Every column of the dataset, with its type, unit and meaning: the one table of them.

``TRIALS`` and ``REQUESTS`` hold the columns by their patterns (``seconds_<step>``);
``describe`` tells those that a dataset has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from llmatrix.analysis.definitions import METRICS
from llmatrix.columns import REQUEST_COLUMNS
from llmatrix.results.tables import Tables

VERSION: Final = 1
"""Of the columns below; raised when one changes its meaning, not when one is added."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        table: which one it is of.
        name: as in SQL; ``<…>`` stands for a part that the experiment decides.
        type: of Arrow.
        unit: of its values; ``""`` where there is none.
        meaning: one sentence or half of one.
    """

    table: Literal["trials", "requests"]
    name: str
    type: str
    unit: str
    meaning: str


def _trials(name: str, kind: str, unit: str, meaning: str) -> Column:
    return Column("trials", name, kind, unit, meaning)


TRIALS: Final = (
    _trials("trial", "string", "", "id of the trial"),
    _trials("valid", "bool", "", "whether every check lets the figures be trusted"),
    _trials("invalid_because", "string", "", "the failed checks as `name figure (limit)`, or null"),
    _trials("simulated", "bool", "", "whether no real model answered"),
    _trials("replicate_deployment", "int64", "", "which repetition of the deployment, from 0"),
    _trials("replicate_workload", "int64", "", "which repetition of the workload on it, from 0"),
    _trials("replicate_control", "int64", "", "which control trial of the deployment, or null"),
    _trials("<factor path>", "string", "", "label of the trial's level of the factor"),
    _trials("<metric>", "double", "in its name", "figure of the trial; null where withheld"),
    _trials("seconds_<step>", "double", "s", "what the step took"),
    _trials("outcome_<step>", "string", "", "applied, unchanged, skipped or failed"),
    _trials("check_<name>", "string", "", "verdict of the check: pass, warn, fail or unknown"),
    _trials("accelerators", "int64", "", "held by the deployment"),
    _trials("started_at", "double", "POSIX s", "when the trial began"),
    _trials("ended_at", "double", "POSIX s", "when the trial ended"),
)
_MEANINGS: Final = {
    "request": ("", "number, from which its prompt is made; in an open loop in order of schedule"),
    "phase": ("", "warmup, window or drain, by the scheduled time"),
    "group": ("", "group of a shared prefix, or session of a conversation; null for neither"),
    "turn": ("", "turn of a conversation, from 0; null where there is none"),
    "scheduled_s": ("s", "when it should have been sent (closed loop: when it was free to be)"),
    "sent_s": ("s", "when it was handed to the socket; null if never"),
    "first_token_s": ("s", "first event with content, at data arrival; null if none"),
    "last_token_s": ("s", "last event with content, at data arrival; null if none"),
    "end_s": ("s", "when the answer ended, or was given up on"),
    "ttft_ms": ("ms", "first token - scheduled"),
    "ttft_from_send_ms": ("ms", "first token - sent"),
    "tpot_ms": ("ms", "(last token - first token) / (output tokens - 1); null below 2 tokens"),
    "e2e_ms": ("ms", "last token - scheduled"),
    "itl_ms": ("ms", "gaps between successive events with content, one per chunk"),
    "prompt_tokens_asked": ("tokens", "length of the prompt; null where nobody could count it"),
    "prompt_tokens": ("tokens", "as the server counted; null if it did not say"),
    "cached_tokens": ("tokens", "of the prompt, served from the prefix cache, as the server says"),
    "output_tokens_asked": ("tokens", "length of the answer that was asked for"),
    "output_tokens": ("tokens", "as the server counted, else events with content"),
    "chunks": ("", "events with content"),
    "status": ("", "HTTP status; null if none came"),
    "server": ("", "which replica answered, if a response header tells"),
    "error": ("", "class: connect, timeout, http, stream, protocol, aborted; null if none"),
    "error_detail": ("", "one line"),
}
REQUESTS: Final = (
    Column("requests", "trial", "string", "", "id of the trial, as in trials"),
    *(Column("requests", name, kind, *_MEANINGS[name]) for name, kind in REQUEST_COLUMNS.items()),
)
"""Times of requests count from the moment for which the trial's first request was scheduled."""


def describe(tables: Tables) -> Iterator[Column]:
    """Tell every column that an experiment has, in the order of its tables."""
    plain = {column.name: column for column in TRIALS}
    prefixes = {n.partition("<")[0]: c for n, c in plain.items() if n.partition("<")[0] != n}
    for field in tables.trials.schema:
        name = field.name
        if name in tables.factors:
            known = plain["<factor path>"]
        elif name in plain:
            known = plain[name]
        elif name in METRICS:
            metric = METRICS[name]
            known = _trials(name, "double", metric.unit, metric.definition)
        else:
            begins = (c for prefix, c in prefixes.items() if prefix and name.startswith(prefix))
            known = next(begins, plain["<metric>"])
        yield _trials(name, str(field.type), known.unit, known.meaning)
    yield from REQUESTS
