"""Write the generated parts of the documentation: what the code says about itself.

    .venv/bin/python docs/generate.py            rewrite every page that is stale
    .venv/bin/python docs/generate.py --check    change nothing; end with 1 if a page is stale

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else
on a page is written by hand. ``PARTS`` holds what makes each part.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
import click
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from llmatrix import columns
from llmatrix.analysis import validity
from llmatrix.analysis.definitions import METRICS
from llmatrix.cli.main import llmatrix
from llmatrix.engines.tekton import roles, submitter
from llmatrix.results import data_dictionary
from llmatrix.sim import latency, plugins, presets
from llmatrix.spec import (
    base,
    charts,
    cluster,
    experiment,
    injected,
    llmd,
    llmd_capacity,
    llmd_model,
    loads,
    paths,
    recorded,
    stack_parts,
    stacks,
    units,
    workloads,
)
from llmatrix.spec.described import meanings
from llmatrix.stacks import site_rights

FOLDER: Final = Path(__file__).parent
_PART: Final = re.compile(r"<!-- generated: ([^>]+?) -->\n(.*?)<!-- end -->", re.DOTALL)

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in lines
    )


# The experiment file

SECTIONS: Final[Mapping[str, type[base.Section]]] = {
    model.__name__: model
    for module in (
        *(experiment, cluster, stack_parts, stacks, injected),
        *(llmd, llmd_capacity, llmd_model, loads, workloads),
    )
    for model in vars(module).values()
    if isinstance(model, type)
    and issubclass(model, base.Section)
    and model.__module__ == module.__name__
} | {"Chart": charts.Chart}
_QUANTITIES: Final[Mapping[Any, str]] = {
    units.seconds: "duration",
    units.per_second: "rate",
    units.size_bytes: "size",
    units.bytes_per_second: "bytes per second",
}
_WORDS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    Any: "anything",
    base.FileText: "path of a file, or the document itself",
    base.TokenizerFolder: "path of a folder",
    recorded.DatasetFile: "path of a file",
    recorded.TraceFile: "path of a file",
}
_BELOW: Final[Mapping[str, str]] = {
    "SimulatedEngine": "[section](#stackengine)",
    "Router": "[section](#stackrouter)",
    "SimulatedPrefill": "[section](#stackprefill)",
    **dict.fromkeys(("Slow", "Stall", "Crash"), "[fault](#stackfaults)"),
    "Chart": "[chart](#chart)",
    "LlmdGateway": "[section](#stackgateway-of-llm-d)",
    "Proxy": "[section](#stackgatewayproxy)",
    "LlmdRouter": "[section](#stackrouter-of-llm-d)",
    "LlmdModel": "[section](#stackmodel)",
    "HubToken": "[section](#stackmodeltoken)",
    "LlmdServer": "[section](#stackserver)",
    "LlmdPrefill": "[section](#stackserverprefill)",
    "Sidecar": "[section](#stackserversidecar)",
    "LlmdCapacity": "[section](#stackservercapacity)",
    "Toleration": "[tolerations](#stackservertolerations)",
    "Ready": "[section](#stackready)",
    "Replicates": "[section](#replicates)",
    "Slo": "[section](#slo)",
    "Run": "[section](#run)",
    "Cluster": "[section](#runcluster)",
    "SecretKey": "[key of a secret](#runcluster)",
    "Budget": "[section](#runbudget)",
    "Control": "[section](#runcontrol)",
    "Results": "[section](#results)",
    "OpenLoop": "[open loop](#workloadload)",
    "RampedLoop": "[ramped open loop](#workloadload)",
    "Segment": "[segment](#workloadload)",
    "ClosedLoop": "[closed loop](#workloadload)",
}


def type_in_words(annotation: Any) -> str:
    """Say what a field takes."""
    origin: Any = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        found = [_QUANTITIES[e.func] for e in extras if _is_quantity(e)]
        limits = _limits(extras, counted=get_origin(inner) in {tuple, dict} or inner is str)
        return " ".join([found[0] if found else type_in_words(inner), *limits])
    if origin in {Union, types.UnionType}:
        members = get_args(annotation)
        told = [type_in_words(m) for m in members if m is not types.NoneType]
        return " or ".join([*told, *(["null"] if types.NoneType in members else [])])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin is tuple:
        return f"list of {type_in_words(get_args(annotation)[0])}"
    if origin is dict:
        return f"mapping from name to {type_in_words(get_args(annotation)[1])}"
    return _WORDS.get(annotation) or _BELOW[annotation.__name__]


def _is_quantity(extra: Any) -> bool:
    return isinstance(extra, BeforeValidator) and extra.func in _QUANTITIES


def _limits(extras: Sequence[Any], *, counted: bool) -> Iterator[str]:
    of_text = "characters" if counted else ""
    for extra in extras:
        if isinstance(extra, FieldInfo):
            yield from _limits(extra.metadata, counted=counted)
        elif isinstance(extra, annotated_types.Gt):
            yield f"above {extra.gt}"
        elif isinstance(extra, annotated_types.Ge):
            yield f"from {extra.ge}"
        elif isinstance(extra, annotated_types.Le):
            yield f"to {extra.le}"
        elif isinstance(extra, annotated_types.MinLen):
            yield "not empty"
        elif isinstance(extra, annotated_types.MaxLen):
            yield f"of at most {extra.max_length} {of_text}"


def default_in_words(field: FieldInfo, takes: str) -> str:
    """Say what a field is when it is left out."""
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, base.Section):
        return "its defaults"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ((), {}):
        return "empty"
    return f"`{_written(value, takes)}`"


def _written(value: Any, takes: str) -> str:
    """Write a value as people would in a file."""
    if takes.startswith("bytes per second"):
        return f"{value / 1e6:g}MB/s"
    return f"{value:g}s" if takes.startswith("duration") else str(value)


def _place(item: tuple[str, FieldInfo]) -> tuple[bool, bool]:
    """Sort fields: which kind, then what must be given, then the rest, each as in the code."""
    name, field = item
    return name != "kind", not field.is_required()


def section_table(model: type[base.Section]) -> str:
    """Tell every field of a section."""
    hints = get_type_hints(model, include_extras=True)
    rows = []
    for name, field in sorted(model.model_fields.items(), key=_place):
        if name not in paths.fields(model):
            continue  # of resolved documents only
        whole = model is experiment.Treatment  # its sections have pages of their own
        takes = "" if whole else type_in_words(hints[name])
        meaning = meanings(model).get(name) or ("Which kind this is." if name == "kind" else "")
        rows.append((f"`{name}`", takes, default_in_words(field, takes), " ".join(meaning.split())))
    return table(("field", "takes", "default", "meaning"), rows)


# The command line


def verbs(context: click.Context) -> str:
    """Give the help of every command below a group, as a terminal of 100 columns shows it."""
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 - the caller's promise
    context.terminal_width = 100
    told = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None  # noqa: S101 - it was listed
        command = copy.copy(command)
        # Click keeps the help option of whoever asked first, who may have had no group around it.
        command._help_option = None  # noqa: SLF001 - click has no word for it
        inner = click.Context(command, context, info_name=name)
        heading = "#" * (2 + inner.command_path.count(" ") - 1)
        help_text = command.get_help(inner)
        told.append(f"{heading} {inner.command_path}\n\n```text\n{help_text}\n```\n\n")
        if isinstance(command, click.Group):
            told.append(verbs(inner))
    return "".join(told)


# Metrics, checks, columns


def metrics() -> str:
    """Tell every metric of a record."""
    rows = [(f"`{m.name}`", m.unit or "–", m.better, m.definition) for m in METRICS.values()]
    return table(("metric", "unit", "better", "definition"), rows)


def checks() -> str:
    """Tell every check with its limit, from judging a steady trial of each kind of load."""
    requests = _steady_trial()
    strain = validity.Strain(cpu=0.1, cpu_wait=0.01)
    observed = validity.Observed(
        loop_lag_ms_p99=0.1, strain=strain, connections_opened=0, simulated=True
    )
    limits: dict[str, str] = {}
    for load, asked in (
        ("Poisson", validity.Asked(rate=20)),
        ("constant", validity.Asked(rate=20, arrivals="constant")),
        ("concurrency", validity.Asked(concurrency=4)),
    ):
        for check in validity.judge(requests, window_s=(0, 50), asked=asked, observed=observed):
            told = limits.setdefault(check.name, check.limit)
            if check.limit != told:
                limits[check.name] = f"{told} (Poisson), {check.limit} ({load})"
    return table(("check", "limit"), [(f"`{n}`", limit) for n, limit in limits.items()])


def _steady_trial() -> Any:
    """Make the rows of 1,000 requests, one every 50 ms, each answered within 10 ms."""
    import pyarrow as pa  # noqa: PLC0415 - only this part needs it

    count = 1000
    at = [number / 20 for number in range(count)]
    known: dict[str, list[Any]] = {
        "phase": ["window"] * count,
        "scheduled_s": at,
        "sent_s": at,
        "last_token_s": [moment + 0.01 for moment in at],
        "end_s": [moment + 0.01 for moment in at],
        "ttft_ms": [10.0] * count,
    }
    schema = columns.arrow_schema(columns.REQUEST_COLUMNS)
    arrays = [pa.array(known.get(f.name, [None] * count), type=f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def column_table(constant: str) -> str:
    """Tell the columns of a Parquet file with the comments that stand beside them in the code."""
    source = inspect.getsource(columns)
    body = source.partition(f"{constant}: ")[2].partition("\n}\n")[0]
    found = re.findall(r'^    "(\w+)": "([^"]+)",(?:  # (.*))?$', body, re.MULTILINE)
    declared = getattr(columns, constant)
    assert [name for name, _, _ in found] == list(declared)  # noqa: S101 - no line was passed over
    return table(("column", "type", "meaning"), [(f"`{n}`", kind, why) for n, kind, why in found])


def trial_columns() -> str:
    """Tell the columns of the table ``trials``."""
    rows = [(f"`{c.name}`", c.type, c.unit, c.meaning) for c in data_dictionary.TRIALS]
    return table(("column", "type", "unit", "meaning"), rows)


# The simulator


def accelerators() -> str:
    """List the accelerators that can be simulated."""
    rows = [
        (
            f"`{a.name}`",
            f"{a.flops / 1e12:g}",
            f"{a.bandwidth / 1e12:g}",
            f"{a.memory / 2**30:.4g}",
            f"{a.efficiency.compute:g} / {a.efficiency.weights:g} / {a.efficiency.kv:g}"
            + ("" if a.efficiency.fitted else " (assumed)"),
            f"<{a.source}>",
        )
        for a in presets.ACCELERATORS
    ]
    head = ("accelerator", "bf16 TFLOP/s", "TB/s", "GiB", "compute / weights / KV", "source")
    return table(head, rows)


def models() -> str:
    """List the models that can be simulated."""
    rows = [
        (
            f"[`{m.name}`]({m.source})",
            f"{m.parameters / 1e9:g}",
            f"{m.active_parameters / 1e9:g}",
            f"{m.layers}",
            f"{m.heads} / {m.kv_heads} × {m.head_dim}",
            f"{m.kv_bytes_per_token / 1024:g}",
        )
        for m in presets.MODELS
    ]
    head = (
        "model",
        "10⁹ parameters",
        "active",
        "layers",
        "heads / KV heads × size",
        "KV KiB per token",
    )
    return table(head, rows)


def picker_plugins() -> str:
    """List the endpoint picker's plugins and how truly each is simulated."""
    rows = [
        (
            f"`{p.type}`",
            p.role,
            p.status,
            p.note,
            ", ".join(f"`{name}: {_plain(of.default)}`" for name, of in p.parameters.items())
            or "–",
        )
        for p in plugins.PLUGINS.values()
    ]
    return table(
        ("plugin", "role", "status", "how, or what is not", "parameters and defaults"), rows
    )


def _plain(value: object) -> str:
    if value is None:
        return "needed"
    if value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def assumptions() -> str:
    """List the constants of the latency model with what is said beside them."""
    found = re.findall(
        r'^([A-Z_]+): Final = (\S+)\n"""(.*?)"""',
        inspect.getsource(latency),
        re.MULTILINE | re.DOTALL,
    )
    rows = [(f"`{name}`", f"{float(value):g}", " ".join(why.split())) for name, value, why in found]
    return table(
        ("constant", "value", "meaning"), [(n, v, w.replace("``", "`")) for n, v, w in rows]
    )


# Rights on a cluster


def rights(rules: Sequence[Mapping[str, Any]]) -> str:
    """Write the rules of a role as a table."""
    rows = []
    for rule in rules:
        groups = [group or "core" for group in rule["apiGroups"]]
        resources = ", ".join(f"`{each}`" for each in rule["resources"])
        only = "".join(f" named `{each}`" for each in rule.get("resourceNames", ()))
        rows.append((resources + only, ", ".join(groups), ", ".join(rule["verbs"])))
    return table(("resource", "API group", "verbs"), rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    **{
        f"section {name}": lambda model=model: section_table(model)  # type: ignore[misc]
        for name, model in SECTIONS.items()
        if not name.startswith("_")
    },
    "verbs": lambda: verbs(
        click.Context(llmatrix, info_name="llmatrix", **llmatrix.context_settings)
    ),
    "metrics": metrics,
    "checks": checks,
    "requests.parquet": lambda: column_table("REQUEST_COLUMNS"),
    "server.parquet": lambda: column_table("SERVER_COLUMNS"),
    "trials": trial_columns,
    "accelerators": accelerators,
    "models": models,
    "plugins": picker_plugins,
    "assumptions": assumptions,
    "rights at home": lambda: rights(roles.AT_HOME),
    "rights on a site": lambda: rights(site_rights.ON_SITE),
    "rights on a site, llm-d": lambda: rights(site_rights.MORE_ON_SITE["llm-d"]),
    "rights on a site, gateways": lambda: rights(
        [
            rule
            for name, rules in site_rights.MORE_ON_SITE.items()
            if name.startswith("llm-d-") and name != site_rights.TOKEN_KIND
            for rule in rules
        ]
    ),
    "rights on a site, llm-d-token": lambda: rights(
        site_rights.MORE_ON_SITE[site_rights.TOKEN_KIND]
    ),
    "rights at home, carried": lambda: rights(roles.OF_CARRIED),
    "rights in the cluster": lambda: rights(site_rights.OF_NAMESPACES),
    "rights of people": lambda: rights(submitter.AT_HOME),
    "rights of people, carried": lambda: rights(submitter.TO_CARRY),
    "rights of people in the cluster": lambda: rights(submitter.OF_SITES),
}
"""What makes each generated part."""


def names_in(page: str) -> list[str]:
    """Give the names of the generated parts on a page."""
    return [match[1] for match in _PART.finditer(page)]


def fresh(page: str) -> str:
    """Give a page with every generated part as the code says it now.

    Raises:
        KeyError: the page asks for a part that nothing makes.
    """
    return _PART.sub(
        lambda part: f"<!-- generated: {part[1]} -->\n{PARTS[part[1]]()}<!-- end -->", page
    )


def stale() -> Iterator[tuple[Path, str]]:
    """Give each page that is not as the code says, with what it should be."""
    for path in sorted(FOLDER.rglob("*.md")):
        page = path.read_text(encoding="utf-8")
        wanted = fresh(page)
        if wanted != page:
            yield path, wanted


def main(arguments: Sequence[str]) -> int:
    """Rewrite stale pages, or only name them."""
    check = "--check" in arguments
    found = list(stale())
    for path, wanted in found:
        click.echo(f"{'stale' if check else 'wrote'}: {path.relative_to(FOLDER.parent)}")
        if not check:
            path.write_text(wanted, encoding="utf-8")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
