"""The objects of a step on a site: taken down, made anew, and what is no longer wanted removed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from llmatrix.cluster import labels, users
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM, POD, Kind, Object
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_removal import RUNNING, USUAL, remove_all
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_state import (
    Reference,
    SiteState,
    with_applied,
    with_kinds,
    with_standing,
)

_OF_GROUPS: Final = ("leaderTemplate", "workerTemplate")
"""Pods of a LeaderWorkerSet."""


def put(
    site: KubernetesSite, step: Step, documents: Sequence[Object], stop: threading.Event
) -> None:
    """Make these objects, and these only, those of a step; what ran for it before ends first.

    Each gets the site's namespace and labels. Pods are not waited for: that is
    ``kubernetes_pods.await_ready``.

    Raises:
        StepFailure: the cluster refuses an object, or what ran before does not end.
        Stopped: ``stop`` was set meanwhile.
    """
    wanted = [placed(site.address, step, document) for document in documents]
    state = site.state()
    before = state.applied(step)
    now = [Reference.to(document) for document in wanted]
    # On record before they are made, so that an end at any moment leaves nothing unknown.
    site.record(with_applied(step, [*before, *now]) | with_standing(step, ()))
    with asking():
        kinds = {each: site.cluster.kind_of(_bare(each)) for each in {*before, *now}}
        _record_kinds(site, state, {*kinds.values(), *_claims(wanted)})
        take_down(site, step, {kind for kind in kinds.values() if kind in RUNNING}, stop)
        if users.chosen_by(site.cluster):
            wanted = [_with_any_user(document) for document in wanted]
        for document in wanted:
            site.cluster.apply(document)
        for each in set(before) - set(now):
            site.cluster.delete(kinds[each], each.name, site.namespace)
    if set(before) - set(now):
        site.record(with_applied(step, now))


def take_down(
    site: KubernetesSite, step: Step, kinds: Iterable[Kind], stop: threading.Event
) -> None:
    """End all that runs for a step and wait until its pods are gone.

    Raises:
        StepFailure: something does not end.
        Stopped: ``stop`` was set meanwhile.
    """
    with asking():
        left = remove_all(
            site.cluster, site.namespace, site.selection(step), [*kinds, POD], stop=stop
        )
    if left:
        raise StepFailure(
            f"what ran before for step {step} does not end: {'; '.join(left)}.",
            FailureClass.ENVIRONMENT,
        )


def give_up(site: KubernetesSite, step: Step) -> None:
    """Have all that runs for a step ended, without waiting for it and whatever comes of it."""
    with contextlib.suppress(StepFailure), asking():
        made = {(each.api_version, each.kind) for each in site.state().applied(step)}
        kinds = [kind for kind in RUNNING if (kind.api_version, kind.name) in made]
        remove_all(site.cluster, site.namespace, site.selection(step), [*kinds, POD], wait_s=0)


def placed(address: SiteAddress, step: Step, document: Object) -> Object:
    """Give an object its namespace and the labels of the site, its pods those labels too."""
    marks = address.labels() | {labels.STEP: step.value}
    metadata = document["metadata"]
    here = document | {
        "metadata": metadata
        | {"namespace": address.namespace, "labels": (metadata.get("labels") or {}) | marks}
    }
    spec = document.get("spec") or {}
    if isinstance(template := spec.get("template"), dict):
        here["spec"] = spec | {"template": _labelled(template, marks)}
    elif isinstance(of_groups := spec.get("leaderWorkerTemplate"), dict):
        both = {each: _labelled(of_groups[each], marks) for each in _OF_GROUPS if each in of_groups}
        here["spec"] = spec | {"leaderWorkerTemplate": of_groups | both}
    return here


def _with_any_user(document: Object) -> Object:
    spec = document.get("spec") or {}
    if isinstance(template := spec.get("template"), dict):
        return document | {"spec": spec | {"template": _of_any_user(template)}}
    if isinstance(of_groups := spec.get("leaderWorkerTemplate"), dict):
        both = {each: _of_any_user(of_groups[each]) for each in _OF_GROUPS if each in of_groups}
        return document | {"spec": spec | {"leaderWorkerTemplate": of_groups | both}}
    return document


def _of_any_user(template: Object) -> Object:
    if "spec" not in template:
        return template
    return template | {"spec": users.left_to_the_cluster(template["spec"])}


def _labelled(template: Object, marks: dict[str, str]) -> dict[str, Any]:
    metadata = template.get("metadata") or {}
    return template | {"metadata": metadata | {"labels": (metadata.get("labels") or {}) | marks}}


def _bare(each: Reference) -> Object:
    return {"apiVersion": each.api_version, "kind": each.kind}


def _claims(documents: Iterable[Object]) -> list[Kind]:
    """Tell of claims that outlive the StatefulSets from whose templates they are made."""
    templates = [(document.get("spec") or {}).get("volumeClaimTemplates") for document in documents]
    return [PERSISTENT_VOLUME_CLAIM] if any(templates) else []


def _record_kinds(site: KubernetesSite, state: SiteState, kinds: Collection[Kind]) -> None:
    """Put kinds that removal would not look for on the site's record, before any is made."""
    for kind in kinds:
        if not kind.namespaced:
            raise ValueError(f"{kind.resource} are in no namespace, so no site can hold one")
    known = set(state.kinds())
    others = {kind for kind in kinds if kind not in USUAL}
    if not others <= known:
        site.record(with_kinds(known | others))
