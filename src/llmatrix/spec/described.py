"""What the fields of a section mean, as the strings below them in its source say.

Pydantic would read them for every class that is made, which is a fifth of what it costs to import
the document's models; here they are read when somebody asks.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping


@functools.cache
def meanings(model: type) -> Mapping[str, str]:
    """Give the meaning of each field of a class, its bases' included, that has one.

    Raises:
        OSError: the source of a class is not at hand.
    """
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if "__annotations__" in vars(each) and each.__module__.startswith("llmatrix."):
            found |= _own(each)
    return found


def _own(model: type) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - of a class, that is what there is
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
    return found
