"""Names and label values that Kubernetes accepts, made from any text, and never alike by accident.

(DNS-1123 labels and label values: at most 63 characters; RFC 1123, Kubernetes' "Object Names and
IDs" and "Labels and Selectors".)
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

LONGEST: Final = 63
_HASH: Final = 8
_UNFIT_NAME: Final = re.compile(r"[^a-z0-9]+")
_UNFIT_LABEL: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL: Final = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def short_hash(*parts: str) -> str:
    """Give 8 hexadecimal digits of the hash of an ordered list of texts."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]


def dns_name(*parts: str, limit: int = LONGEST) -> str:
    """Join texts to a DNS-1123 label of at most ``limit`` characters.

    Where a text had to be changed or cut, a hash of what it was is added, so that two different
    lists of texts have different names.
    """
    joined = "-".join(parts)
    fit = _UNFIT_NAME.sub("-", joined.lower()).strip("-")
    if fit == joined and 0 < len(fit) <= limit:
        return fit
    room = limit - _HASH - 1
    return f"{fit[:room].strip('-') or 'x'}-{short_hash(*parts)}"


def label_value(text: str) -> str:
    """Give a label value for a text: itself where it is one, else made safe, with a hash."""
    if _LABEL.fullmatch(text):
        return text
    fit = _UNFIT_LABEL.sub("-", text)[: LONGEST - _HASH - 1].strip("-_.")
    return f"{fit or 'x'}-{short_hash(text)}"
