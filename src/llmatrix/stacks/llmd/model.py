"""The model layer: files downloaded from the Hub into a claim, once, by a Job that then goes."""

from __future__ import annotations

import threading
from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.cluster.faults import AlreadyThere, Refused
from llmatrix.cluster.kinds import (
    DEPLOYMENT,
    JOB,
    LEADER_WORKER_SET,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
    STATEFUL_SET,
    Object,
)
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd_model import HubToken, LlmdModel
from llmatrix.stacks import kubernetes_jobs, kubernetes_objects, kubernetes_parts
from llmatrix.stacks.hub import told
from llmatrix.stacks.hub.wanted import HUB
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd import model_files
from llmatrix.stacks.llmd.checks import section
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_rights import TOKEN_KIND
from llmatrix.stacks.waiting import until

COMPONENT: Final = "model"
"""Label of the claims that outlive their sites; `llmatrix gc` knows them by it."""
_MODEL: Final = "llmatrix.dev/model"
"""Annotation: what a claim was made for, for people."""
_SERVERS: Final = (LEADER_WORKER_SET, STATEFUL_SET, DEPLOYMENT)
"""Kinds that servers run as; who may make no Gateways may not look for some either."""
_TERMINATION_LOG: Final = "/dev/termination-log"
_ASKS: Final = {"cpu": "100m", "memory": "256Mi"}
_RIGHTS_S: Final = 15.0
"""Seconds until the API server knows a new binding."""
_GRACE_S: Final = 60
_KEPT_S: Final = 3600
"""Of a Job that nobody waits for any more."""


def apply(treatment: Treatment, site: KubernetesSite, stop: threading.Event) -> None:
    """Have the model's files where the servers look for them.

    Raises:
        StepFailure: they do not come; the Job's own words, or what keeps it from running.
        Stopped: ``stop`` was set meanwhile.
    """
    stack = section(treatment)
    if stack.model.source != "huggingface":
        return  # what a server mounts is there already, or it fetches it itself
    if stack.model.access_mode != "ReadWriteMany":
        # Servers of another model may hold the volume on a node that the Job cannot be on; they
        # stand on the model, so they are to go anyway.
        kubernetes_objects.take_down(site, Step.SERVER, _SERVERS, stop)
    _ensure_claim(treatment, site)
    objects = [job(treatment, site.address)]
    if stack.model.token is not None and site.address.own_namespace:
        objects.append(_brought(stack.model.token, site, stop))
    ended = kubernetes_jobs.run(
        site,
        Step.MODEL,
        objects,
        stack.model.timeout,
        stop,
        hear=lambda log: _tell(site, log),
    )
    outcome = told.read(ended.message)
    if isinstance(outcome, StepFailure):
        raise StepFailure(str(outcome), outcome.failure, log=ended.log)
    if outcome is None or ended.code:
        raise StepFailure(
            f"the download ended with exit status {ended.code} and did not say why.",
            FailureClass.ENVIRONMENT,
            log=ended.log,
        )
    site.said(f"{Step.MODEL}: {outcome}")


def stands(treatment: Treatment, site: KubernetesSite) -> bool:
    """Tell whether the claim that was downloaded into is still there; it is wanted for longer."""
    files = section(treatment).model
    if files.source != "huggingface":
        return True
    name = model_files.claim(treatment.model.name, files, site.address)
    with asking():
        found = site.cluster.get(PERSISTENT_VOLUME_CLAIM, name, site.namespace)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return False
        _keep(found, site)
    return bool(found.get("status", {}).get("phase") == "Bound")


def claim(treatment: Treatment, address: SiteAddress) -> Object:
    """Give the claim to download into, where none is named."""
    files = section(treatment).model
    wanted = model_files.wanted(treatment.model.name, files)
    if address.own_namespace:
        marks = address.labels() | {labels.STEP: Step.MODEL.value}
    else:
        # Of no site: it stays when this one goes.
        marks = {
            labels.MANAGED_BY: labels.OURS,
            labels.HOME: address.home,
            labels.EXPIRES: str(address.expires),
        }
    spec: dict[str, Any] = {
        "accessModes": [files.access_mode],
        "resources": {"requests": {"storage": files.size}},
    }
    if files.storage_class is not None:
        spec["storageClassName"] = files.storage_class
    return {
        "apiVersion": PERSISTENT_VOLUME_CLAIM.api_version,
        "kind": PERSISTENT_VOLUME_CLAIM.name,
        "metadata": {
            "name": model_files.claim(treatment.model.name, files, address),
            "namespace": address.namespace,
            "labels": marks | {labels.COMPONENT: COMPONENT},
            "annotations": {_MODEL: f"{wanted.repo}@{wanted.revision}"},
        },
        "spec": spec,
    }


def job(treatment: Treatment, address: SiteAddress) -> Object:
    """Give the Job that downloads; the only pod that is given the token."""
    stack = section(treatment)
    files, name = stack.model, treatment.model.name
    container = kubernetes_parts.container(
        "download",
        ["llmatrix", "model", "download", *_options(name, files, address)],
        image=address.image,
        pull_policy=address.pull_policy,
        port=0,
        requests=_ASKS,
        mounts=[{"name": "model", "mountPath": model_files.FOLDER}],
        more={"env": [_token(files.token, address)]} if files.token is not None else None,
    )
    del container["ports"], container["readinessProbe"]
    volume = {"claimName": model_files.claim(name, files, address)}
    pod = kubernetes_parts.pod(
        [container], volumes=[{"name": "model", "persistentVolumeClaim": volume}]
    )
    # A volume without its files' owner changed again for each of them, each time.
    pod["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"
    pod["restartPolicy"] = "Never"
    # A volume that is made where its first pod runs must be made where the servers can run.
    if stack.server.node_selector:
        pod["nodeSelector"] = dict(stack.server.node_selector)
    if stack.server.tolerations:
        pod["tolerations"] = [e.model_dump(exclude_none=True) for e in stack.server.tolerations]
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {"name": address.object_name("model")},
        "spec": {
            "backoffLimit": 0,  # another try is the engine's
            "activeDeadlineSeconds": int(files.timeout) + _GRACE_S,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {"metadata": {"labels": {}}, "spec": pod},
        },
    }


def _options(model: str, files: LlmdModel, address: SiteAddress) -> list[str]:
    wanted = model_files.wanted(model, files)
    # A claim of the lane's own is for the models of this experiment only.
    own = address.own_namespace and files.claim is None
    return [
        f"--repo={wanted.repo}",
        f"--revision={wanted.revision}",
        *(f"--allow={each}" for each in wanted.allow),
        *(f"--ignore={each}" for each in wanted.ignore),
        *([f"--path={files.path}"] if files.path else []),
        f"--endpoint={files.endpoint or HUB}",
        f"--into={model_files.FOLDER}",
        *(["--make-room"] if own else []),
        f"--told={_TERMINATION_LOG}",
    ]


def _token(token: HubToken, address: SiteAddress) -> Object:
    name = token.secret if not address.own_namespace else address.object_name(token.secret)
    return {
        "name": "HF_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": name, "key": token.key}},
    }


def _ensure_claim(treatment: Treatment, site: KubernetesSite) -> None:
    """Make the claim unless it is there; one that is named by the user must be.

    Raises:
        StepFailure: it is not there, is somebody else's, or is on its way out.
    """
    files, wanted = section(treatment).model, claim(treatment, site.address)
    name = wanted["metadata"]["name"]
    with asking():
        found = site.cluster.get(PERSISTENT_VOLUME_CLAIM, name, site.namespace)
        if found is None and files.claim is None:
            try:
                site.cluster.create(wanted)
            except AlreadyThere:
                found = site.cluster.get(PERSISTENT_VOLUME_CLAIM, name, site.namespace)
            else:
                return
        if found is None:
            raise StepFailure(
                f"stack.model.claim: there is no claim {name} in namespace {site.namespace}.",
                FailureClass.USER,
            )
        if "deletionTimestamp" in found["metadata"]:
            raise StepFailure(
                f"claim {site.namespace}/{name} is on its way out.", FailureClass.ENVIRONMENT
            )
        if files.claim is None and not labels.ours(found):
            raise StepFailure(
                f"claim {site.namespace}/{name} is there and is not ours: it is left alone.",
                FailureClass.USER,
            )
        _keep(found, site)


def _keep(found: Object, site: KubernetesSite) -> None:
    """Have a claim that outlives sites stay for as long as this one is wanted."""
    marks = found["metadata"].get("labels") or {}
    until_ = marks.get(labels.EXPIRES, "")
    if labels.ours(found) and until_.isdigit() and int(until_) < site.address.expires:
        change = {"metadata": {"labels": {labels.EXPIRES: str(site.address.expires)}}}
        site.cluster.merge(
            PERSISTENT_VOLUME_CLAIM, found["metadata"]["name"], site.namespace, change
        )


def _brought(token: HubToken, site: KubernetesSite, stop: threading.Event) -> Object:
    """Bring the token to a namespace of the site's own: a secret of this one key.

    Raises:
        StepFailure: it is not there.
    """
    site.allow(TOKEN_KIND)
    address = site.address
    with asking():
        secret = site.cluster.get(SECRET, token.secret, address.home)
        value = ((secret or {}).get("data") or {}).get(token.key)
        if not value:
            raise StepFailure(
                f"stack.model.token: there is no secret {token.secret} with a key {token.key} in "
                f"namespace {address.home}; make it by: kubectl -n {address.home} create secret "
                f"generic {token.secret} --from-literal={token.key}=hf_…",
                FailureClass.USER,
            )
        until(lambda: _may_make_secrets(site), _RIGHTS_S, stop=stop, every_s=0.25)
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {"name": address.object_name(token.secret)},
        "type": "Opaque",
        "data": {token.key: value},
    }


def _may_make_secrets(site: KubernetesSite) -> bool:
    try:
        site.cluster.find(SECRET, site.namespace, site.selection(Step.MODEL))
    except Refused:
        return False
    return True


def _tell(site: KubernetesSite, log: str) -> None:
    progress = told.Progress.last(log)
    if progress is not None:
        site.said(f"{Step.MODEL}: {progress}")
