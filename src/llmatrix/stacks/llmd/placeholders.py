"""Words that stand in rendered manifests for what only a site knows, and are replaced on it.

A set is rendered once, on another machine, before any site is there. What a release is called on
a site is never longer than the word that stands for it, so that a chart that cuts its names to
what Kubernetes takes cuts enough.
"""

from __future__ import annotations

import re
from typing import Final

from llmatrix.cluster.naming import short_hash
from llmatrix.plan.step import Step
from llmatrix.stacks.llmd import names
from llmatrix.stacks.site_address import SiteAddress

SITE: Final = "llmatrix-site-placeholder"
"""The layer on its site: a chart's release is called so."""
NAMESPACE: Final = "llmatrix-namespace-placeholder"
"""The namespace of the site."""
OURS: Final = {
    "llmatrix-gateway-placeholder": names.gateway,
    "llmatrix-picker-placeholder": names.picker,
    "llmatrix-server-placeholder": names.server,
}
"""The Services of the layers, by the names under which every other layer finds them."""
_WORD: Final = re.compile("|".join([SITE, NAMESPACE, *OURS]))
_BEGUN: Final = re.compile(r"llmatrix-(?:site|names)[a-z-]*")
_CERTAIN: Final = len("llmatrix-site")


def filled(text: str, address: SiteAddress, step: Step) -> str:
    """Replace every word in a text by what it stands for on a site."""
    meant = {SITE: release(address, step), NAMESPACE: address.namespace}
    meant |= {word: name(address) for word, name in OURS.items()}
    return _WORD.sub(lambda match: meant[match[0]], text)


def release(address: SiteAddress, step: Step) -> str:
    """Name a layer on a site: by its step, and in a shared namespace by the site before it.

    It is none of the names of ``names``, which are those of what stands for it to other layers.
    """
    if address.own_namespace:
        return f"llmatrix-{step}"
    return f"llmatrix-{short_hash(address.name)}-{step}"


def cut(text: str) -> str:
    """Give the first word that something has cut short, so that it cannot be replaced; or ""."""
    for match in _BEGUN.finditer(text):
        for word in (SITE, NAMESPACE):
            shared = _shared(match[0], word)
            if _CERTAIN <= shared < len(word):
                return match[0][:shared]
    return ""


def _shared(text: str, word: str) -> int:
    """Count the characters that two texts have in common at their beginning."""
    pairs = zip(text, word, strict=False)
    same = min(len(text), len(word))
    return next((n for n, (one, other) in enumerate(pairs) if one != other), same)
