"""The end of an attached run: see that nothing stands, and remove what carried it.

By now every record is where the user wanted it, so the PipelineRuns, their Tasks, and the claim
that was made for the records have done their work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM, PIPELINE_RUN, POD, Object
from llmatrix.cluster.naming import label_value
from llmatrix.engines.tekton import carried
from llmatrix.engines.tekton.cancel import of_experiment
from llmatrix.engines.tekton.reading import ended
from llmatrix.engines.tekton.settings import Settings
from llmatrix.engines.tekton.sites import (
    Piece,
    Say,
    StandingSite,
    find_sites,
    remove,
    unused_definitions,
)
from llmatrix.results.claim import READER
from llmatrix.steps.events import Warned, Watch

HOW_TO_END: Final = "`llmatrix gc --cluster --kept` or `llmatrix cancel` ends it"
_PATIENCE_S: Final = 90.0


def end_kept(cluster: Cluster, home: str, experiment: str, say: Say) -> None:
    """Take down what an earlier run of an experiment was told to keep: the next has its own sites.

    Raises:
        ClusterFault: the cluster cannot be reached.
    """
    found = find_sites(cluster, home, {labels.EXPERIMENT: label_value(experiment)})
    kept = [site for site in found.sites if site.kept]
    if not kept:
        return
    say(f"taking down what was kept: {_names(kept)}.")
    pieces = [piece for site in kept for piece in site.pieces]
    for each in remove(cluster, pieces, _PATIENCE_S, stop=threading.Event()):
        say(f"could not remove: {each}.")


def leave(
    cluster: Cluster, settings: Settings, experiment: str, tell: Watch, *, keep: bool = False
) -> list[str]:
    """Take down what the PipelineRuns left standing, then remove them and what was made for them.

    With ``keep``, what they were told to leave standing goes on.

    Returns:
        What could not be removed, in words; each was told as a warning.
    """
    home, stop = settings.namespace, threading.Event()
    found = find_sites(cluster, home, {labels.EXPERIMENT: label_value(experiment)})
    kept = [site for site in found.sites if keep and site.kept]
    sites = [site for site in found.sites if site not in kept]
    if kept:
        tell(Warned(f"kept up until they expire: {_names(kept)}; {HOW_TO_END}."))
    if sites:
        tell(Warned(f"taking down what still stands: {_names(sites)}."))
    pieces = [piece for site in sites for piece in site.pieces]
    left = remove(cluster, pieces, _PATIENCE_S, stop=stop)
    runs = cluster.find(PIPELINE_RUN, home, of_experiment(experiment))
    over = [Piece.of(PIPELINE_RUN, each) for each in runs if ended(each)]
    readers = {**of_experiment(experiment), labels.COMPONENT: READER}
    over += [Piece.of(POD, each) for each in cluster.find(POD, home, readers)]
    over += [Piece.of(PERSISTENT_VOLUME_CLAIM, each) for each in _claims(cluster, settings)]
    if all(map(ended, runs)):
        over += carried.pieces(carried.standing(cluster, home, experiment))
    left += remove(cluster, over, _PATIENCE_S, stop=stop)
    left += remove(cluster, unused_definitions(cluster, home), _PATIENCE_S, stop=stop)
    for each in left:
        tell(Warned(f"could not remove: {each}. `llmatrix gc --cluster` tries again."))
    return left


def _names(sites: Iterable[StandingSite]) -> str:
    return ", ".join(site.name for site in sites)


def _claims(cluster: Cluster, settings: Settings) -> list[Object]:
    """Give the claim that was made for the records, all of which have been collected."""
    claim = settings.claim
    if claim is None or not claim.made:
        return []
    found = cluster.get(PERSISTENT_VOLUME_CLAIM, claim.name, settings.namespace)
    return [found] if found is not None and labels.ours(found) else []
