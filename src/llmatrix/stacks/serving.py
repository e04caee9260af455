"""What can be asked of any OpenAI-compatible server: which models, and to forget its prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from llmatrix.stacks.http import Unreachable, ask
from llmatrix.stacks.protocol import Hygiene
from llmatrix.stacks.waiting import until

_RESET_S: Final = 5.0
"""Requests of the trial before may hold blocks for a moment; a reset fails meanwhile."""
_REFUSED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_ABSENT: Final = {
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_IMPLEMENTED,
}


class NotServing(Exception):
    """Something answers, but not as an OpenAI-compatible server would; the text says how."""


def served_models(base_url: str, api_key: str | None = None) -> tuple[str, ...]:
    """Give the models that ``/v1/models`` lists.

    Raises:
        Unreachable: nobody answers, or the server is not ready (5xx).
        NotServing: what answers is not an OpenAI-compatible server, or refuses the key.
    """
    url = f"{base_url}/v1/models"
    answer = ask("GET", url, api_key=api_key)
    if answer.status in _REFUSED:
        raise NotServing(f"{url} refuses the request ({answer.status}); check the API key")
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Unreachable(f"{url} answers {answer.status}: it is not ready")
    document = answer.json()
    models = document.get("data") if isinstance(document, dict) else None
    if answer.status != HTTPStatus.OK or not isinstance(models, list):
        hint = "; write the URL without /v1" if base_url.endswith("/v1") else ""
        raise NotServing(f"{url} answers {answer.status} without a list of models{hint}")
    return tuple(str(m["id"]) for m in models if isinstance(m, dict) and "id" in m)


def wrong_model(base_url: str, wanted: str, served: Sequence[str]) -> str | None:
    """Say that ``wanted`` is not served, and what is; None when it is served."""
    if wanted in served:
        return None
    names = ", ".join(f"'{name}'" for name in served) or "no model"
    return f"{base_url} does not serve '{wanted}' but {names}"


def is_simulated(base_url: str, api_key: str | None = None) -> bool:
    """Tell whether our own simulator answers, whoever started it: it says so at ``/version``."""
    try:
        document = ask("GET", f"{base_url}/version", api_key=api_key).json()
    except Unreachable:
        return False
    return isinstance(document, dict) and document.get("simulated") is True


def reset_prefix_cache(
    base_url: str, api_key: str | None = None, *, patience_s: float = _RESET_S
) -> Hygiene:
    """Ask a server to drop its prefix cache until it says that it did.

    The status alone proves nothing: vLLM answers 200 with ``{"success": false}`` when it did not,
    and 200 without a body in versions that do not tell.
    """
    url = f"{base_url}/reset_prefix_cache"
    found = [Hygiene(clean=False, detail=f"{url} was not asked")]

    def settled() -> bool:
        found[0], final = _ask_reset(url, api_key)
        return final

    if until(settled, patience_s, every_s=0.25):
        return found[0]
    return Hygiene(clean=False, detail=f"{found[0].detail}, for {patience_s:g} s")


def _ask_reset(url: str, api_key: str | None) -> tuple[Hygiene, bool]:
    """Ask once; also tell whether asking again is of no use."""
    try:
        answer = ask("POST", url, api_key=api_key)
    except Unreachable as error:
        return Hygiene(clean=False, detail=str(error)), False
    if answer.status in _ABSENT:
        advice = "vLLM offers it when started with VLLM_SERVER_DEV_MODE=1"
        return Hygiene(
            clean=False, detail=f"{url} is not offered ({answer.status}); {advice}"
        ), True
    if answer.status != HTTPStatus.OK:
        final = answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return Hygiene(clean=False, detail=f"{url} answers {answer.status}"), final
    document = answer.json()
    success = document.get("success") if isinstance(document, dict) else None
    if success is True:
        return Hygiene(clean=True, detail=f"{url} says that the prefix cache was dropped"), True
    if success is False:
        return Hygiene(
            clean=False, detail=f"{url} says that the prefix cache was not dropped"
        ), False
    return Hygiene(clean=None, detail=f"{url} answers 200 without saying whether it did"), True
