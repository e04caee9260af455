"""The rights that a submission takes, asked for before anything is created."""

from __future__ import annotations

from collections.abc import Iterable

from llmatrix.cluster.access import Right, account_name, denied, grants, rights, rights_of
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import SERVICE_ACCOUNT, known
from llmatrix.engines.tekton import roles
from llmatrix.engines.tekton.settings import Settings
from llmatrix.engines.tekton.submitter import OF_SITES, at_home
from llmatrix.stacks.site_rights import (
    MORE_ON_SITE,
    OF_NAMESPACES,
    ON_SITE,
    in_cluster,
)


def ours(settings: Settings) -> list[Right]:
    """Give the rights of whoever submits, follows, collects and cancels."""
    wanted = rights_of(at_home(settings), settings.namespace)
    return wanted if settings.namespaced else [*wanted, *rights_of(OF_SITES)]


def of_the_account(settings: Settings) -> list[Right]:
    """Give the rights of the account of the steps that can be asked about before it runs."""
    tokens = (rule for name in sorted(settings.tokens) for rule in roles.of_token(name))
    at_home = rights_of([*roles.AT_HOME, *tokens], settings.namespace)
    if settings.namespaced:
        return [*at_home, *rights_of(_on_site(settings), settings.namespace)]
    kinds = roles.more_kinds(settings)
    binds = [rule for kind in kinds for rule in in_cluster(kind)]
    if settings.carries:
        at_home += rights_of(roles.OF_CARRIED, settings.namespace)
    return [*at_home, *rights_of([*OF_NAMESPACES, *binds])]


def _on_site(settings: Settings) -> roles.Rules:
    more = (rule for kind in roles.more_kinds(settings) for rule in MORE_ON_SITE[kind])
    return [*ON_SITE, *more]


def to_make_the_account(settings: Settings) -> list[Right]:
    """Give the rights to apply the account of the steps and its roles, and those it will hold.

    Nobody may give a right away that he does not have himself (Kubernetes, "Privilege escalation
    prevention").
    """
    made = roles.account_and_roles(settings)
    found: list[Right] = []
    for each in made:
        kind = known(each)
        assert kind is not None  # noqa: S101 - we made it
        found += rights(kind, "create patch", each["metadata"].get("namespace", ""))
    sites = [] if settings.namespaced else rights_of(_on_site(settings))
    return [*found, *of_the_account(settings), *sites]


def missing_rights(cluster: Cluster, settings: Settings) -> list[Right]:
    """Give the rights that we lack to submit; those to make the account only if there is none.

    Raises:
        ClusterFault: the cluster cannot be asked.
    """
    wanted = ours(settings)
    if not _has_account(cluster, settings):
        wanted += to_make_the_account(settings)
    return denied(cluster, wanted)


def check_rights(cluster: Cluster, settings: Settings) -> None:
    """Refuse to begin with too few rights; nothing has been created.

    Raises:
        Refused: it names each verb on each resource, and the command that grants it.
    """
    missing = missing_rights(cluster, settings)
    if missing:
        raise Refused(told(missing, account_name(cluster)))


def told(missing: Iterable[Right], account: str) -> str:
    """Say which rights an account lacks, and how an administrator gives them."""
    commands = grants(missing, account)
    lines = [f"{account} may not {what}; an administrator gives it by: {command}"
             for what, command in commands.items()]  # fmt: skip
    return "\n".join(
        [*lines, "all rights at once: llmatrix tekton render FILE -o DIR writes submitter.yaml"]
    )


def _has_account(cluster: Cluster, settings: Settings) -> bool:
    try:
        return cluster.get(SERVICE_ACCOUNT, settings.account, settings.namespace) is not None
    except Refused:
        return True  # one that we may not see, we are not to make
