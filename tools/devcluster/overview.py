"""What stands of the cluster and whether it works."""

from __future__ import annotations

from tools.devcluster import (
    builds,
    components,
    extras,
    gateway,
    layout,
    leftovers,
    readiness,
    running,
)
from tools.devcluster.families import FAMILIES
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import Layout


def status(place: Layout) -> tuple[list[str], bool]:
    """Give what to print, and whether everything works."""
    if not place.config.is_dir():
        left = leftovers.found(place)
        return ["there is no cluster", *(f"left behind: {one}" for one in left)], False
    programs = builds.built(layout.cache())
    if len(programs) < len(FAMILIES):
        return ["what the cluster is made of has changed or was removed; `up` builds it"], False
    there = running.standing(place)
    lines, well = [], True
    for component in components.components(place, programs):
        identity = there.get(component.name)
        ready = identity is not None and component.ready()
        well = well and ready
        state = f"pid {identity.pid}" if identity else "does not run"
        lines.append(f"{component.name:<36}{'ready' if ready else 'NOT ready':<12}{state}")
    kubectl = Kubectl(programs["kubernetes"] / "kubectl", place.kubeconfig)
    if well:
        more = gateway.conditions(kubectl) if "gateway" in extras.added(place) else ()
        for what, works in (*readiness.conditions(kubectl), *more):
            answers = works()
            well = well and answers
            lines.append(f"{what:<48}{'works' if answers else 'does NOT work'}")
    return lines, well
