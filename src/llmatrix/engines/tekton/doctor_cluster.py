"""What doctor asks about any cluster: is it there, is Tekton, may we use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from llmatrix.cluster import discovery, facts
from llmatrix.cluster.access import Right, account_name, denied, grants, rights_of
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import LEADER_WORKER_SET, NAMESPACE, PIPELINE_RUN, STEP_ACTION, Kind
from llmatrix.engines.tekton.doctor import Answer, Asked, Question, ok, warning, wrong
from llmatrix.engines.tekton.rights import missing_rights
from llmatrix.engines.tekton.submitter import AT_HOME, OF_SITES

INSTALL: Final = (
    "kubectl apply -f https://infra.tekton.dev/tekton-releases/pipeline/latest/release.yaml"
)
_INSTALL_OPENSHIFT: Final = "install the operator 'Red Hat OpenShift Pipelines' from OperatorHub"
OLDEST: Final = (1, 0)
"""Oldest Tekton Pipelines that has what is used: StepActions in v1beta1."""
_SIDECARS: Final = "running-in-environment-with-injected-sidecars"
SECURITY: Final = "set-security-context"


def reaches(asked: Asked) -> Iterator[Answer]:
    """Ask who is there, and who we are to it."""
    version = discovery.version(asked.cluster)
    named = "OpenShift, " if asked.openshift else ""
    who = account_name(asked.cluster)
    yield ok("cluster", f"{named}Kubernetes {version}, context {asked.cluster.context}, as {who}")


def namespace(asked: Asked) -> Iterator[Answer]:
    """Ask whether the namespace of the PipelineRuns is there."""
    about, home = "namespace", asked.home
    try:
        found = asked.cluster.get(NAMESPACE, home)
    except Refused:
        yield ok(about, f"{home}; you may not look at the namespace itself")
        return
    if found is None:
        yield wrong(about, f"there is no namespace {home}", f"kubectl create namespace {home}")
    elif "deletionTimestamp" in found["metadata"]:
        yield wrong(about, f"{home} is being deleted", f"kubectl get namespace {home} -o yaml")
    else:
        yield ok(about, home)


def tekton(asked: Asked) -> Iterator[Answer]:
    """Ask whether Tekton is there, and new enough."""
    about = "Tekton"
    install = _INSTALL_OPENSHIFT if asked.openshift else INSTALL
    missing = [k for k in (PIPELINE_RUN, STEP_ACTION) if not discovery.serves(asked.cluster, k)]
    if missing:
        kinds = " and ".join(f"{kind.name} {kind.api_version}" for kind in missing)
        yield wrong(
            about, f"the cluster has no {kinds}: Tekton Pipelines is missing or old", install
        )
        return
    found = asked.tekton
    if found is None:
        yield warning(about, f"served, but not found in {' or '.join(facts.TEKTON_NAMESPACES)}")
        return
    version = found.version or "of unknown version"
    if (number := _number(found.version)) is not None and number < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield wrong(about, f"{version}; llmatrix needs {oldest} or newer", install)
        return
    yield ok(about, f"{version} in {found.namespace}")
    yield from _flags(asked, found)


def _flags(asked: Asked, found: facts.Tekton) -> Iterator[Answer]:
    about = "Tekton's settings"
    if found.flags is None or found.defaults is None:
        yield warning(about, f"you may not read ConfigMap feature-flags in {found.namespace}")
        return
    told = False
    if found.flags.get(_SIDECARS, "true") == "true":
        told = True
        yield warning(
            about,
            f"{_SIDECARS} is on: each pod waits for sidecars before its first step; where none "
            f"are injected, off starts trials sooner",
            flag(asked, _SIDECARS, "false"),
        )
    if not told:
        yield ok(
            about, f"as they should be; at most {found.combinations} combinations in one matrix"
        )


def flag(asked: Asked, name: str, value: str) -> str:
    """Write the command that sets a feature flag of Tekton."""
    if asked.openshift:
        typed = value == "true" if value in {"true", "false"} else value
        change = json.dumps({"spec": {"pipeline": {name: typed}}}, separators=(",", ":"))
        return f"oc patch tektonconfig config --type merge -p '{change}'"
    where = asked.tekton.namespace if asked.tekton else facts.TEKTON_NAMESPACES[0]
    return (
        f"kubectl patch configmap feature-flags -n {where} --type merge -p "
        f'\'{{"data":{{"{name}":"{value}"}}}}\''
    )


def our_rights(asked: Asked) -> Iterator[Answer]:
    """Ask, verb by verb, whether we may submit, follow, collect and cancel."""
    if asked.settings is not None:
        missing = missing_rights(asked.cluster, asked.settings)
    else:
        missing = denied(asked.cluster, [*rights_of(AT_HOME, asked.home), *rights_of(OF_SITES)])
    yield from lacking("your rights", missing, account_name(asked.cluster), "submit and cancel")


def lacking(about: str, missing: list[Right], account: str, purpose: str) -> Iterator[Answer]:
    """Say which rights are missing, one line for each resource; or that none is."""
    if not missing:
        yield ok(about, f"enough to {purpose}")
    for what, command in grants(missing, account).items():
        yield wrong(about, f"{account} may not {what}", command)


def gateways(asked: Asked) -> Iterator[Answer]:
    """Ask which of the kinds that serving stacks are made of there are."""
    found = [kind for kind in _OPTIONAL if discovery.serves(asked.cluster, kind)]
    names = ", ".join(f"{kind.name} {kind.version}" for kind in found)
    yield ok("serving", f"{names or 'no Gateway API, InferencePool or LeaderWorkerSet'}; "
             f"simulated stacks and endpoints need none")  # fmt: skip


def accelerators(asked: Asked) -> Iterator[Answer]:
    """Ask which accelerators there are, and how many are free."""
    there: dict[str, int] = {}
    free: dict[str, int] = {}
    nodes = facts.nodes(asked.cluster)
    for node in nodes:
        for resource, count in node.accelerators.items():
            there[resource] = there.get(resource, 0) + count
            free[resource] = free.get(resource, 0) + node.free[resource]
    told = ", ".join(f"{free[name]} of {there[name]} {name} free" for name in there)
    taking = f"{len(nodes)} {'node takes' if len(nodes) == 1 else 'nodes take'} pods"
    yield ok("accelerators", f"{taking}; {told or 'no accelerators; simulated stacks need none'}")


QUESTIONS: Final[tuple[tuple[str, Question], ...]] = (
    ("cluster", reaches),
    ("namespace", namespace),
    ("Tekton", tekton),
    ("your rights", our_rights),
)
"""Of every examination; the next are of one without a file."""
SURVEY: Final[tuple[tuple[str, Question], ...]] = (
    ("accelerators", accelerators),
    ("serving", gateways),
)
_OPTIONAL: Final[tuple[Kind, ...]] = (
    facts.GATEWAY,
    facts.INFERENCE_POOL,
    LEADER_WORKER_SET,
)


def _number(version: str) -> tuple[int, int] | None:
    parts = version.removeprefix("v").split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return None
