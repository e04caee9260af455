"""Which experiment a user means by a place: a folder or URL of one, or of a store holding it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmatrix.errors import UserError
from llmatrix.results.folder import FolderStore, open_store
from llmatrix.results.store import Store

_EVIDENCE: Final = ("record.json", "failure.json")
_LOOKED_INTO: Final = 20
"""So many folders of trials are looked into for evidence that an experiment was run there."""


def find_experiment(place: str, *, command: str) -> tuple[Store, str]:
    """Find the experiment that is meant, and the store it lies in.

    Args:
        place: a folder or an object store's URL: of the experiment, or of a store with just one.
        command: what the user typed before the place, for the advice where there are several.

    Raises:
        UserError: there is none, or there are several.
        StoreFault: it cannot be read.
    """
    above, name, whole = _split(place)
    if name and is_experiment(above, name):
        return above, name
    inside = list(experiments(whole))
    if not inside:
        raise UserError(
            f"{whole.url} holds no trial yet; name an experiment, such as results/quickstart or "
            f"s3://bucket/quickstart, or run one first: llmatrix run FILE"
        )
    if len(inside) > 1:
        names = "\n".join(f"  {command} {join(whole.url, name)}" for name in inside)
        raise UserError(f"{whole.url} holds {len(inside)} experiments; say which one:\n{names}")
    return whole, inside[0]


def experiments(store: Store) -> Iterator[str]:
    """Give the names of the experiments that a store holds, in order."""
    return (name for name in store.folders() if is_experiment(store, name))


def is_experiment(store: Store, name: str) -> bool:
    """Tell whether the folder ``name`` of a store is an experiment's."""
    if store.exists(f"{name}/experiment.json"):
        return True
    for count, trial in enumerate(store.folders(f"{name}/")):
        if any(store.exists(f"{name}/{trial}/{file}") for file in _EVIDENCE):
            return True
        if count == _LOOKED_INTO:
            return False
    return False


def join(url: str, name: str) -> str:
    """Give the URL of what is ``name`` in the store ``url``."""
    path, question, query = url.partition("?")
    return f"{path}/{name}{question}{query}"


def _on_claim(place: str) -> tuple[Store, str, Store]:
    """Split ``pvc://namespace/claim/experiment``: a claim is one store, with none above or in it.

    Raises:
        UserError: the claim does not hold that experiment.
    """
    namespace, _, rest = place.removeprefix("pvc://").strip("/").partition("/")
    claim, _, name = rest.partition("/")
    store = open_store(f"pvc://{namespace}/{claim}", folder=Path())
    if name and not is_experiment(store, name):
        raise UserError(f"{store.url} holds no experiment '{name}'; see: llmatrix ls {store.url}")
    return store, name, store


def _split(place: str) -> tuple[Store, str, Store]:
    """Give the store above a place, the place's name in it, and the place as a store itself."""
    if "://" not in place:
        folder = Path(place).absolute()
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise UserError(f"{folder} {what}; check the path, or run an experiment first")
        folder = folder.resolve()
        return FolderStore(folder.parent), folder.name, FolderStore(folder)
    if place.startswith("pvc://"):
        return _on_claim(place)
    url, question, query = place.partition("?")
    above, _, name = url.rstrip("/").rpartition("/")
    whole = open_store(place, folder=Path())
    if above.endswith(":/"):
        return whole, "", whole  # a bucket has nothing above it
    return open_store(f"{above}{question}{query}", folder=Path()), name, whole
