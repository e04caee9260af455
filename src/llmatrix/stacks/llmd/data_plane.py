"""Whether what stands of an llm-d stack works together: asked over HTTP, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

from llmatrix.stacks.http import Unreachable, ask

_READY_PODS: Final = ("inference_pool_ready_pods", "llm_d_epp_ready_endpoints")
_PER_POD: Final = ("inference_pool_per_pod_queue_size", "llm_d_epp_per_endpoint_queue_size")
"""The names of GAIE, and those that llm-d-router has since v0.10."""


def blind(servers: Sequence[str], reads: Iterable[str]) -> str:
    """Say which metrics that the picker goes by a server does not have; "" if all have them.

    A picker that looks for a name that is not there scores every server alike, without a word.

    Raises:
        Unreachable: a server does not answer.
    """
    wanted = list(reads)
    for server in servers:
        exposed = names(_metrics(f"{server}/metrics"))
        if missing := [name for name in wanted if name not in exposed]:
            return f"the picker goes by {' and '.join(missing)}, which {server} does not have"
    return ""


def unseen(picker: str, servers: int) -> str:
    """Say what the picker does not see of so many servers; "" if it sees them all."""
    try:
        text = _metrics(f"{picker}/metrics")
    except Unreachable as error:
        return str(error)
    ready = sum(float(row.rpartition(" ")[2]) for row in _rows(text, _READY_PODS))
    if ready != servers:
        return f"the picker counts {ready:g} ready servers, not {servers}"
    told = len(_rows(text, _PER_POD))
    return "" if told >= servers else f"the picker has read the load of {told} of {servers} servers"


def stuck(url: str, model: str) -> str:
    """Say why a request that is sent to ``url`` is not answered by a server; "" if it is."""
    body = {"model": model, "prompt": "ready?", "max_tokens": 1}
    try:
        answer = ask("POST", f"{url}/v1/completions", document=body, timeout_s=10.0)
    except Unreachable as error:
        return str(error)
    if answer.status == HTTPStatus.OK:
        return ""
    said = " ".join(answer.body[:300].decode(errors="replace").split())
    return f"{url} answers a completion of '{model}' with {answer.status}: {said}"


def names(exposition: str) -> set[str]:
    """Give the names of the samples of a Prometheus text exposition."""
    rows = (row for row in exposition.splitlines() if row and not row.startswith("#"))
    return {row.partition("{")[0].partition(" ")[0] for row in rows}


def _metrics(url: str) -> str:
    answer = ask("GET", url)
    if answer.status != HTTPStatus.OK:
        raise Unreachable(f"{url} answers {answer.status}")
    return answer.body.decode(errors="replace")


def _rows(exposition: str, names_: Iterable[str]) -> list[str]:
    """Give the samples of the first of these names that has any."""
    rows = exposition.splitlines()
    found = ([r for r in rows if r.startswith((f"{n}{{", f"{n} "))] for n in names_)
    return next(filter(None, found), [])
