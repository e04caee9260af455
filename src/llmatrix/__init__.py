"""Plan, run and judge LLM-serving experiments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmatrix.results.dataset import Dataset

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(place: str | Path = "results") -> Dataset:
    """Read what an experiment found, for notebooks and programs of one's own.

    Args:
        place: an experiment's folder or URL, such as ``results/quickstart`` or
            ``s3://bucket/quickstart``, or a store that holds just one.

    Returns:
        The dataset: ``trials()`` gives the table of trials, ``connect()`` a DuckDB connection
        with the tables ``trials`` and ``requests``; ``records`` are the trials themselves.

    Raises:
        UserError: there is no experiment, or there are several.
        StoreFault: the store cannot be read.
    """
    # Imported when called, so that `import llmatrix` stays quick.
    from llmatrix.results.dataset import load as read  # noqa: PLC0415
    from llmatrix.results.places import find_experiment  # noqa: PLC0415

    return read(*find_experiment(str(place), command="llmatrix report"))
