"""What brought layers render to, carried to the steps in ConfigMaps beside the PipelineRuns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CONFIG_MAP, Object
from llmatrix.cluster.naming import label_value
from llmatrix.engines.tekton.sites import Piece
from llmatrix.plan.trial import Trial
from llmatrix.spec.charts import Rendered
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks.llmd import layers, manifest_set

CARRIERS: Final[Mapping[str, str]] = {
    labels.MANAGED_BY: labels.OURS,
    labels.COMPONENT: manifest_set.MANIFESTS,
}
"""Labels of these ConfigMaps."""


def config_maps(trials: Iterable[Trial], home: str, expires: int) -> list[Object]:
    """Give the ConfigMaps that trials need, each set once, in the order of their names."""
    found: dict[str, Object] = {}
    for trial in trials:
        for rendered in rendered_layers(trial.treatment.stack):
            name = manifest_set.name(trial.experiment, rendered.sha256)
            if name not in found:
                found[name] = manifest_set.config_map(
                    trial.experiment, rendered.sha256, rendered.text, expires=expires
                )
                found[name]["metadata"]["namespace"] = home
    return [found[name] for name in sorted(found)]


def rendered_layers(stack: object) -> list[Rendered]:
    """Give the sets of a stack's brought layers."""
    if not isinstance(stack, LlmdStack):
        return []
    found = [layers.layer(stack, step).rendered for step in layers.BRINGABLE]
    return [each for each in found if each is not None]


def carriers(cluster: Cluster, home: str, experiment: str | None = None) -> list[Object]:
    """Give the ConfigMaps that stand, of one experiment or of all; none that we may not see."""
    of = {} if experiment is None else {labels.EXPERIMENT: label_value(experiment)}
    try:
        return cluster.find(CONFIG_MAP, home, {**CARRIERS, **of})
    except Refused:
        return []


def pieces(found: Iterable[Object]) -> list[Piece]:
    """Refer to ConfigMaps so that they can be removed."""
    return [Piece.of(CONFIG_MAP, each) for each in found]
