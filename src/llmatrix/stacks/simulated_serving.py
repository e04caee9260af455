"""What is asked of simulated servers and their router over HTTP, wherever they run."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import serving
from llmatrix.stacks.http import Unreachable, ask
from llmatrix.stacks.protocol import Hygiene
from llmatrix.target import Target


def target(
    router: str, servers: Sequence[str], model: str, *, prefills: Sequence[str] = ()
) -> Target:
    """Say where the workload goes: to the router, which must serve the model.

    ``prefills``: those of the servers that prefill only.

    Raises:
        StepFailure: it does not answer, or serves another model.
    """
    try:
        wrong = serving.wrong_model(router, model, serving.served_models(router))
    except (Unreachable, serving.NotServing) as error:
        raise StepFailure(str(error), FailureClass.SERVER) from error
    if wrong:
        raise StepFailure(wrong, FailureClass.SERVER)
    return Target(
        base_url=router,
        model=model,
        metrics_urls=tuple(f"{url}/metrics" for url in servers),
        prefill_urls=tuple(f"{url}/metrics" for url in prefills),
        router_metrics_url=f"{router}/metrics",
        simulated=True,
    )


def passes(router: str, model: str) -> bool:
    """Tell whether the router passes requests for the model on to a server."""
    try:
        return model in serving.served_models(router)
    except (Unreachable, serving.NotServing):
        return False


def cleanse(
    router: str, servers: Sequence[str], changed: AbstractSet[Step], *, faults: bool = False
) -> Hygiene:
    """Empty the caches of servers that were not started just now, and what the router learnt.

    With ``faults``, the time of the servers' faults begins now: it is the same in each trial.
    """
    found = [] if Step.ROUTER in changed else [_reset_router(router)]
    if Step.SERVER not in changed:
        found += [serving.reset_prefix_cache(url) for url in servers]
    if faults:
        found += filter(None, map(_begin_faults, servers))
    dirty = [one.detail for one in found if one.clean is not True]
    if dirty:
        clean = False if any(one.clean is False for one in found) else None
        return Hygiene(clean=clean, detail="; ".join(dirty))
    return Hygiene(clean=True, detail=_clean_words(changed, len(servers)))


def crashed(servers: Sequence[str]) -> list[str]:
    """Say which servers crashed, or do not answer any more, since the time of faults began."""
    told = []
    for number, url in enumerate(servers):
        try:
            crashes = _faults("GET", url)
        except Unreachable:
            crashes = 1
        told += [f"simulated server {number} ({url}) crashed, as its fault asks"] * crashes
    return told


def _begin_faults(url: str) -> Hygiene | None:
    """Begin the time of a server's faults; say what went wrong, if anything did."""
    try:
        _faults("POST", url)
    except Unreachable as error:
        return Hygiene(clean=False, detail=str(error))
    return None


def _faults(method: str, url: str) -> int:
    """Ask a server about its faults; give how often it crashed since their time began.

    Raises:
        Unreachable: it does not answer, or not so.
    """
    document = ask(method, f"{url}/faults", timeout_s=5.0).json()
    if not isinstance(document, dict) or not isinstance(document.get("crashes"), int):
        raise Unreachable(f"{url}/faults does not tell of crashes")
    return int(document["crashes"])


def _reset_router(url: str) -> Hygiene:
    try:
        document = ask("POST", f"{url}/reset").json()
    except Unreachable as error:
        return Hygiene(clean=False, detail=str(error))
    done = isinstance(document, dict) and document.get("success") is True
    return Hygiene(clean=done, detail="" if done else f"{url} did not drop what it had learnt")


def _clean_words(changed: AbstractSet[Step], replicas: int) -> str:
    servers = (
        "the servers have just been started"
        if Step.SERVER in changed
        else f"{replicas} of {replicas} servers say that their prefix cache was dropped"
    )
    router = (
        "the router has just been started"
        if Step.ROUTER in changed
        else "the router says that it dropped what it had learnt"
    )
    return f"{servers}; {router}"
