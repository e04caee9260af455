"""Where sites of the tests stand: in a namespace of their own, and in one that others share."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from llmatrix.stacks.site_address import LONGEST_NAME, SiteAddress

OWN: Final = SiteAddress(
    name="site",
    namespace="site",
    own_namespace=True,
    experiment="e",
    run="r",
    lane=0,
    expires=77,
    home="home",
    account="steps",
    image="reg/llmatrix:1",
)
SHARED: Final = replace(OWN, name="s" * LONGEST_NAME, namespace="home", own_namespace=False)
