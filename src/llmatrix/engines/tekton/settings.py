"""What the objects of an experiment are made with: ``run`` and ``run.cluster``, resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmatrix.cluster.naming import LONGEST, dns_name
from llmatrix.engines.tekton.carried import carries
from llmatrix.errors import UserError
from llmatrix.plan.build import Plan
from llmatrix.spec.cluster import SecretKey
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.llmd_model import HubToken
from llmatrix.stacks.site_rights import TOKEN_KIND, needs

RESULTS: Final = "/results"
"""Where the claim for the records is mounted."""
COMBINATIONS: Final = 256
"""Tekton's ``default-max-matrix-combinations-count``, where nobody changed it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim for the records, where the store is a folder.

    Attributes:
        name: of the claim.
        made: whether it is ours to make, with the size and class below.
        shared: several pods write to it at once, maybe from several nodes.
    """

    name: str
    made: bool
    size: str
    storage_class: str | None
    shared: bool


_MEASURING_CPU: Final = "100m"
_WAITING_CPU: Final = "10m"
"""Or the pods that wait would hold the room that the stack of the one whose turn it is needs."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How an experiment runs on a cluster.

    Attributes:
        namespace: of the PipelineRuns.
        namespaced: sites are kept in that namespace, too.
        image: of the steps.
        pull_policy: of that image.
        account: of the steps.
        env: of the steps that measure and store.
        store: as the steps are told it: a URL, or the folder at which the claim is mounted.
        claim: for the records; None where they go to an object store.
        cpu: that the pod of a trial asks for, as Kubernetes writes it.
        memory: that it asks for.
        queue: of Kueue, that PipelineRuns wait in.
        retries: more tries for a trial that failed by what may pass.
        fresh: every trial has a site of its own.
        parallelism: trials on their way at once, where ``fresh``.
        keeps_s: seconds after the planned end until nobody wants what still stands.
        combinations: most that the cluster allows in one matrix.
        openshift: users and groups are the cluster's to choose, so none are asked for.
        kinds: of the stacks, and ways in which they are used: some need more rights than others
            (``site_rights.needs``).
        tokens: names of the secrets of the home namespace that are brought to sites.
        carries: something is carried beside the PipelineRuns, which the steps read.
    """

    namespace: str
    namespaced: bool
    image: str
    pull_policy: str
    account: str
    env: Mapping[str, str | SecretKey]
    store: str
    claim: Claim | None
    cpu: str
    memory: str
    queue: str | None
    retries: int
    fresh: bool
    parallelism: int
    keeps_s: float
    combinations: int = COMBINATIONS
    openshift: bool = False
    kinds: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    carries: bool = False


def resolved(
    plan: Plan,
    *,
    namespace: str,
    image: str,
    combinations: int = COMBINATIONS,
    openshift: bool = False,
) -> Settings:
    """Take the settings from the experiment.

    Args:
        plan: of the experiment.
        namespace: where ``run.cluster.namespace`` names none.
        image: where ``run.cluster.image`` names none.
        combinations: most that the cluster allows in one matrix.
        openshift: whether the cluster gives every namespace its own users and groups.

    Raises:
        UserError: they cannot be had on a cluster.
    """
    experiment = plan.experiment
    run, cluster = experiment.run, experiment.run.cluster
    _hold_queue(plan, run.queue)
    _hold_env(plan, cluster.env)
    claim = _claim(plan)
    kinds = {need for treatment in plan.distinct_stacks() for need in needs(treatment.stack)}
    # Where sites are in the home namespace, so is the secret.
    brought = () if cluster.namespaced else hub_tokens(plan)
    tokens = frozenset(token.secret for token in brought)
    return Settings(
        namespace=cluster.namespace or namespace,
        namespaced=cluster.namespaced,
        image=cluster.image or image,
        pull_policy=cluster.image_pull_policy,
        account=cluster.service_account,
        env=cluster.env,
        store=experiment.results.store if claim is None else RESULTS,
        claim=claim,
        cpu=cluster.harness_cpu or (_WAITING_CPU if run.isolation == "fresh" else _MEASURING_CPU),
        memory=cluster.harness_memory,
        queue=run.queue,
        retries=run.retries,
        fresh=run.isolation == "fresh",
        parallelism=run.parallelism,
        keeps_s=cluster.expires,
        combinations=combinations,
        openshift=openshift,
        kinds=frozenset(kinds | {TOKEN_KIND} if tokens else kinds),
        tokens=tokens,
        carries=carries(plan),
    )


def hub_tokens(plan: Plan) -> list[HubToken]:
    """Give where the tokens are that the Jobs of an experiment download models with."""
    stacks = [treatment.stack for treatment in plan.distinct_stacks()]
    found = [stack.model.token for stack in stacks if isinstance(stack, LlmdStack)]
    return list(dict.fromkeys(token for token in found if token is not None))


def _claim(plan: Plan) -> Claim | None:
    experiment = plan.experiment
    scheme, separator, _ = experiment.results.store.partition("://")
    if separator and scheme != "file":
        return None
    cluster = experiment.run.cluster
    return Claim(
        name=cluster.results_claim or dns_name("llmatrix-results", experiment.name),
        made=cluster.results_claim is None,
        size=cluster.results_size,
        storage_class=cluster.storage_class,
        shared=experiment.run.parallelism > 1,
    )


def _hold_queue(plan: Plan, queue: str | None) -> None:
    if queue is not None and len(queue) > LONGEST:
        raise UserError(
            f"{plan.loaded.source.place(('run', 'queue'))}: run.queue: a queue that PipelineRuns "
            f"can wait in has a name of at most {LONGEST} characters, not {len(queue)}."
        )


def _hold_env(plan: Plan, env: Mapping[str, str | SecretKey]) -> None:
    for name, value in env.items():
        if isinstance(value, str) and "$(" in value:
            place = plan.loaded.source.place(("run", "cluster", "env", name))
            raise UserError(
                f"{place}: run.cluster.env.{name}: Tekton would put something else in place of "
                f"'$(' in this value; keep it in a secret, and write {{secret: NAME, key: KEY}}."
            )
