"""What doctor asks for an experiment's sake: its account, secrets, volumes and accelerators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from llmatrix.cluster import facts
from llmatrix.cluster.access import denied
from llmatrix.cluster.discovery import serves
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import LEADER_WORKER_SET, SERVICE_ACCOUNT, Kind
from llmatrix.engines.tekton import gateways
from llmatrix.engines.tekton.doctor import Answer, Asked, Question, ok, warning, wrong
from llmatrix.engines.tekton.doctor_accelerators import room
from llmatrix.engines.tekton.doctor_cluster import SECURITY, flag, lacking
from llmatrix.engines.tekton.rights import of_the_account
from llmatrix.engines.tekton.settings import Claim, Settings, hub_tokens
from llmatrix.spec.cluster import SecretKey
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stacks import Stack

_MANY: Final = "ReadWriteMany"
_QUEUE: Final = Kind("kueue.x-k8s.io", "v1beta1", "localqueues", "LocalQueue")
WANTED: Final[Mapping[str, tuple[Kind, ...]]] = {"llm-d": (facts.INFERENCE_POOL,)}
"""Kinds of objects, beyond Kubernetes' own, that each kind of stack is made of."""
_RELEASES: Final = "https://github.com/kubernetes-sigs"
_INSTALLS: Final = {
    facts.GATEWAY: f"kubectl apply --server-side -f {_RELEASES}/gateway-api/releases/latest/"
    f"download/standard-install.yaml",
    facts.INFERENCE_POOL: f"kubectl apply -f {_RELEASES}/gateway-api-inference-extension/"
    f"releases/latest/download/manifests.yaml",
    LEADER_WORKER_SET: f"kubectl apply --server-side -f {_RELEASES}/lws/releases/latest/"
    f"download/manifests.yaml",
}
_RENDER: Final = (
    "llmatrix tekton render FILE -o DIR && kubectl apply --server-side -f DIR/roles.yaml"
)


def account(asked: Asked) -> Iterator[Answer]:
    """Ask whether the account of the steps is there and has the rights that the steps use."""
    settings, about = _settings(asked), "account of the steps"
    name = f"{settings.namespace}/{settings.account}"
    if asked.cluster.get(SERVICE_ACCOUNT, settings.account, settings.namespace) is None:
        yield ok(about, f"{name} is not there yet; the first run makes it, with its roles")
        return
    user = f"system:serviceaccount:{settings.namespace}:{settings.account}"
    try:
        missing = denied(asked.cluster, of_the_account(settings), user)
    except Refused:
        yield warning(about, f"{name} is there; you may not ask for its rights", _RENDER)
        return
    if not missing:
        yield ok(about, f"{name} has its rights")
        return
    for each in lacking(about, missing, user, ""):
        yield wrong(each.about, each.told, _RENDER)


def secrets(asked: Asked) -> Iterator[Answer]:
    """Ask whether the secrets are there; what they hold is not sent to us."""
    settings, about = _settings(asked), "secrets"
    tokens = [] if asked.plan is None else hub_tokens(asked.plan)
    field_of = {token.secret: "stack.model.token" for token in tokens}
    wanted: dict[str, list[str]] = {}
    for token in tokens:
        wanted.setdefault(token.secret, []).append(f"{token.key} (as HF_TOKEN)")
    for variable, value in settings.env.items():
        if isinstance(value, SecretKey):
            wanted.setdefault(value.secret, []).append(f"{value.key} (as {variable})")
    for secret, keys in wanted.items():
        if facts.has_secret(asked.cluster, secret, settings.namespace):
            yield ok(about, f"{secret} is there; it must have {', '.join(keys)}")
            continue
        literals = " ".join(f"--from-literal={key.split()[0]}=…" for key in keys)
        yield wrong(
            about,
            f"{field_of.get(secret, 'run.cluster.env')} names secret {secret}, which is not in "
            f"namespace {settings.namespace}",
            f"kubectl create secret generic {secret} -n {settings.namespace} {literals}",
        )


def store(asked: Asked) -> Iterator[Answer]:
    """Ask whether the records can be kept."""
    settings, about = _settings(asked), "store"
    if settings.claim is not None:
        yield from _claim(asked, settings.claim)
        return
    known = {name for name in settings.env if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))}
    if known:
        yield ok(
            about, f"{settings.store}, reached by {', '.join(sorted(known))} of run.cluster.env"
        )
        return
    yield warning(
        about,
        f"{settings.store}: run.cluster.env has no credentials; the pods need them from elsewhere "
        f"(workload identity)",
    )


def _claim(asked: Asked, claim: Claim) -> Iterator[Answer]:
    about, home = "store", _settings(asked).namespace
    modes = facts.access_modes(asked.cluster, claim.name, home)
    if modes is not None:
        if claim.shared and _MANY not in modes and len(facts.nodes(asked.cluster)) > 1:
            yield wrong(
                about,
                f"claim {claim.name} is {', '.join(modes)}: lanes on different nodes cannot share "
                f"it; take run.parallelism 1, an object store, or a {_MANY} claim",
            )
        else:
            yield ok(about, f"claim {claim.name}, {', '.join(modes)}")
        return
    if not claim.made:
        yield wrong(
            about,
            f"run.cluster.results_claim names {claim.name}, which is not in namespace {home}",
            f"kubectl get pvc -n {home}",
        )
        return
    yield from _class(asked, claim)


def _class(asked: Asked, claim: Claim) -> Iterator[Answer]:
    about = "store"
    classes = facts.storage_classes(asked.cluster)
    found = [
        each
        for each in classes
        if each.name == claim.storage_class or (claim.storage_class is None and each.default)
    ]
    if not found:
        names = ", ".join(each.name for each in classes) or "none"
        wanted = claim.storage_class or "the default one"
        yield wrong(
            about,
            f"a claim is made for the records, but there is no storage class for it: {wanted} of "
            f"{names}; name one as run.cluster.storage_class, or use an object store",
            "kubectl get storageclass",
        )
        return
    chosen = found[0]
    told = f"a claim of class {chosen.name} ({chosen.provisioner})"
    if claim.shared and not chosen.shared and len(facts.nodes(asked.cluster)) > 1:
        yield warning(
            about,
            f"{told}: lanes on different nodes share it, which takes {_MANY}, and {chosen.name} is "
            f"not known for it; a class that has it, or an object store, is safe",
        )
        return
    yield ok(about, told)
    flags = asked.tekton.flags if asked.tekton is not None else None
    if claim.shared and flags is not None and flags.get("coschedule", "workspaces") != "disabled":
        yield warning(
            about,
            "Tekton's coschedule keeps all pods that share a claim on one node",
            flag(asked, "coschedule", "disabled"),
        )


def pod_security(asked: Asked) -> Iterator[Answer]:
    """Ask whether Tekton's pods fit into a namespace that enforces a standard."""
    about, home = "pod security", _settings(asked).namespace
    standard = facts.enforced(asked.cluster, home)
    if standard != "restricted":
        yield ok(about, f"{home} enforces {standard or 'nothing'}")
        return
    flags = asked.tekton.flags if asked.tekton is not None else None
    if flags is None:
        yield warning(about, f"{home} enforces restricted, which takes Tekton's flag {SECURITY}")
    elif flags.get(SECURITY) != "true":
        yield wrong(
            about,
            f"{home} enforces restricted, and Tekton's own containers do not fit in while its "
            f"flag {SECURITY} is off",
            flag(asked, SECURITY, "true"),
        )
    else:
        yield ok(about, f"{home} enforces restricted, and {SECURITY} is on")


def serving(asked: Asked) -> Iterator[Answer]:
    """Ask whether the kinds of objects that the stacks are made of are known to the cluster."""
    assert asked.plan is not None  # noqa: S101 - asked with a file only
    stacks = [treatment.stack for treatment in asked.plan.distinct_stacks()]
    kinds = {kind for stack in stacks for kind in made_of(stack)}
    for kind in sorted(kinds, key=lambda kind: kind.name):
        yield from served(kind, there=serves(asked.cluster, kind))


def made_of(stack: Stack) -> set[Kind]:
    """Give the kinds of objects, beyond Kubernetes' own, that a stack is made of."""
    kinds = set(WANTED.get(stack.kind, ()))
    if isinstance(stack, LlmdStack):
        if stack.gateway.mode == "none":  # no picker, so no pool
            kinds.discard(facts.INFERENCE_POOL)
        if stack.server.nodes > 1:
            kinds.add(LEADER_WORKER_SET)
    return kinds


def served(kind: Kind, *, there: bool) -> Iterator[Answer]:
    """Judge whether a kind of objects that a stack is made of is known."""
    if there:
        yield ok("serving", f"{kind.name} {kind.api_version}")
    else:
        yield wrong("serving", f"the stack is made of {kind.name}s ({kind.api_version}), and the "
                    f"cluster does not know them", _INSTALLS[kind])  # fmt: skip


def queue(asked: Asked) -> Iterator[Answer]:
    """Ask whether the queue is there."""
    settings = _settings(asked)
    if settings.queue is None:
        return
    if not serves(asked.cluster, _QUEUE):
        yield wrong(
            "queue",
            f"run.queue is {settings.queue}, and the cluster has no Kueue: the PipelineRuns would "
            f"wait for ever; leave run.queue out, or install Kueue",
        )
    elif asked.cluster.get(_QUEUE, settings.queue, settings.namespace) is None:
        yield wrong(
            "queue",
            f"there is no LocalQueue {settings.queue} in namespace {settings.namespace}",
            f"kubectl get localqueues -n {settings.namespace}",
        )
    else:
        yield ok("queue", settings.queue)


def image(asked: Asked) -> Iterator[Answer]:
    """Say which image the steps run in; only the nodes can tell whether they may pull it."""
    settings = _settings(asked)
    yield ok("image", f"{settings.image} ({settings.pull_policy}); whether nodes can pull it "
             f"shows in the first trial")  # fmt: skip


QUESTIONS: Final[tuple[tuple[str, Question], ...]] = (
    ("account of the steps", account),
    ("secrets", secrets),
    ("store", store),
    ("pod security", pod_security),
    ("accelerators", room),
    ("serving", serving),
    ("gateway", gateways.question),
    ("queue", queue),
    ("image", image),
)


def _settings(asked: Asked) -> Settings:
    assert asked.settings is not None  # noqa: S101 - asked with a file only
    return asked.settings
