"""A site on Kubernetes: a namespace of its own, or a part of one, told apart by labels.

What stands is on record in one ConfigMap of the site, so it outlives the processes that made it.
What was measured and waits for upload is in the working folder, and so is the claim to it: a pod
that starts anew with an empty folder has measured nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, Object
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_namespace, kubernetes_removal, site_rights
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.local_site import write_durably
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_rights import SITE_ROLE
from llmatrix.stacks.site_state import SiteState, with_key
from llmatrix.stacks.waiting import until

_RIGHTS_S: Final = 15.0
"""Seconds until the API server knows a new binding."""
Said = Callable[[str], None]


class KubernetesSite:
    """Implements ``site.Site`` on a cluster; it holds nothing, so that any process can go on.

    Attributes:
        cluster: by the account that has the rights of ``site_rights``.
        address: where on it.
        said: is told, in a few words, what is waited for.
    """

    def __init__(
        self,
        cluster: Cluster,
        address: SiteAddress,
        folder: Path,
        *,
        said: Said = lambda _: None,
        site_role: str = SITE_ROLE,
    ) -> None:
        self.cluster = cluster
        self.address = address
        self.said = said
        self._folder = folder
        self._site_role = site_role

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def namespace(self) -> str:
        """In which its objects live."""
        return self.address.namespace

    def labels(self, step: Step) -> dict[str, str]:
        """Give the labels of everything that a step makes here."""
        return self.address.labels() | {labels.STEP: step.value}

    def selection(self, step: Step) -> dict[str, str | None]:
        """Give the labels by which what a step made is found: those that never change."""
        return {labels.SITE: self.address.name, labels.STEP: step.value}

    def claimed(self, step: Step) -> str | None:
        if step is Step.WORKLOAD:
            return self._measured()
        return self.state().key(step)

    def claim(self, step: Step, key: str) -> None:
        if step is Step.WORKLOAD:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durably(self._measured_file, json.dumps(key).encode())
        else:
            self.record(with_key(step, key))

    def disclaim(self, step: Step) -> None:
        if step is Step.WORKLOAD:
            self._measured_file.unlink(missing_ok=True)
        else:
            self._merge(with_key(step, None))

    def clear(self) -> list[str]:
        with asking():
            if self.address.own_namespace and not kubernetes_namespace.stands(
                self.cluster, self.address
            ):
                return []
            return kubernetes_removal.remove_site(self.cluster, self.address, self.state().kinds())

    def remove(self) -> list[str]:
        """Remove whatever stands here and the site itself, and see it gone.

        Returns:
            What could not be removed, in words. A namespace or a ConfigMap that is not this
            site's is none of it.

        Raises:
            StepFailure: the cluster cannot be asked.
        """
        if not self.address.own_namespace:
            return self.clear()
        with asking():
            return kubernetes_namespace.remove(self.cluster, self.address)

    def keep(self) -> None:
        """Mark the site as left standing on purpose.

        Raises:
            StepFailure: the cluster cannot be asked, or refuses.
        """
        change = {"metadata": {"labels": {labels.KEEP: "true"}}}
        with asking():
            if self.address.own_namespace:
                self.cluster.merge(NAMESPACE, self.namespace, None, change)
            else:
                self.cluster.merge(CONFIG_MAP, self.name, self.namespace, change)

    def prepare(self, stop: threading.Event) -> None:
        """Make the site so that the other steps can work on it.

        Raises:
            StepFailure: class ``user`` where its namespace or ConfigMap is somebody else's, or
                the account has not the rights.
            Stopped: ``stop`` was set meanwhile.
        """
        with asking():
            if self.address.own_namespace:
                kubernetes_namespace.make(self.cluster, self.address, stop)
                kubernetes_namespace.bind(self.cluster, self.address, self._site_role)
            seen = until(self._config_map_once_allowed, _RIGHTS_S, stop=stop, every_s=0.25)
            # A refusal that lasts is raised here, as it is.
            found = self._config_map() if seen is None else seen[0]
            if found is not None and not self._is_ours(found):
                raise StepFailure(
                    f"ConfigMap {self.namespace}/{self.name} is there and is not of this site: it "
                    f"is left alone.",
                    FailureClass.USER,
                )
            self.cluster.apply(self._document())

    def allow(self, kind: str) -> None:
        """Give the account what a kind of stack needs beyond the rights of every site.

        In a namespace that the site shares, the account has it already.

        Raises:
            StepFailure: the cluster cannot be asked, or refuses.
        """
        if self.address.own_namespace:
            role = site_rights.role_of(kind, self._site_role)
            with asking():
                kubernetes_namespace.bind(self.cluster, self.address, role, f"llmatrix-{kind}")

    def stands(self) -> bool:
        """Tell whether the site is there and stays; never raises for one that is not."""
        with asking():
            try:
                own = self.address.own_namespace
                if own and not kubernetes_namespace.stands(self.cluster, self.address):
                    return False
                return self.state().there
            except Refused:
                return False

    @property
    def name(self) -> str:
        """Of the ConfigMap that has what stands here on record."""
        return self.address.object_name("site")

    def state(self) -> SiteState:
        """Read what the site has on record; nothing where it is not there.

        Raises:
            StepFailure: the cluster cannot be asked, or refuses.
        """
        with asking():
            try:
                found = self._config_map()
            except Refused:
                # Rights in a namespace of its own come with it: without them nothing stands.
                if not self.address.own_namespace:
                    raise
                found = None
        if found is None or not self._is_ours(found):
            return SiteState({}, there=False)
        return SiteState(found.get("data") or {})

    def record(self, change: Mapping[str, str | None]) -> None:
        """Set entries of the record, or with None remove them; durable when it returns.

        Raises:
            StepFailure: the site is not there any more, or the cluster cannot be asked.
        """
        if not self._merge(change):
            raise StepFailure(
                f"the site {self.address.name} is gone from namespace {self.namespace}.",
                FailureClass.ENVIRONMENT,
            )

    def _merge(self, change: Mapping[str, str | None]) -> bool:
        with asking():
            try:
                found = self.cluster.merge(
                    CONFIG_MAP, self.name, self.namespace, {"data": dict(change)}
                )
            except Refused:
                if not self.address.own_namespace:
                    raise
                return False
        return found is not None

    def _config_map(self) -> Object | None:
        return self.cluster.get(CONFIG_MAP, self.name, self.namespace)

    def _config_map_once_allowed(self) -> list[Object | None] | None:
        """Give what is there, in a list; None while rights given just now do not count yet."""
        try:
            return [self._config_map()]
        except Refused:
            if not self.address.own_namespace:
                raise
            return None

    def _is_ours(self, found: Object) -> bool:
        marks = found["metadata"].get("labels") or {}
        return labels.ours(found) and marks.get(labels.SITE) == self.address.name

    def _document(self) -> Object:
        return {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.name,
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": self.labels(Step.NAMESPACE),
            },
        }

    @property
    def _measured_file(self) -> Path:
        return self._folder / "measured.key"

    def _measured(self) -> str | None:
        try:
            key = json.loads(self._measured_file.read_bytes())
        except (OSError, ValueError):
            return None
        return key if isinstance(key, str) else None


def on_kubernetes(site: object) -> KubernetesSite:
    """Give a site as the one on Kubernetes that it is.

    Raises:
        TypeError: a stack of pods was asked to stand on another kind of site.
    """
    if not isinstance(site, KubernetesSite):
        raise TypeError(f"a {type(site).__name__} is no site on Kubernetes")
    return site
