"""Removes the iptables chains of kube-proxy, the kubelet and our pods' network, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.devcluster.command import output
from tools.devcluster.faults import ClusterFault
from tools.devcluster.layout import NETWORK

_KUBERNETES = re.compile(r"KUBE-")
_CNI = re.compile(r"CNI-")
_TARGET = re.compile(r" -[jg] (\S+)")
Tables = dict[str, tuple[list[str], list[str]]]
"""A table's name → its chains and its rules (``-A …``)."""


def remove() -> None:
    """Remove our chains from IPv4's and IPv6's tables."""
    for tool in ("iptables", "ip6tables"):
        script = "".join(removal(parse(_saved(tool))))
        if script:
            output([f"{tool}-restore", "--noflush"], given=script)


def ours() -> list[str]:
    """Name the chains that ``remove`` would remove, as ``table/chain``."""
    tables = parse(_saved("iptables"))
    return [f"{name}/{chain}" for name, it in tables.items() for chain in sorted(_chains(it))]


def _saved(tool: str) -> str:
    try:
        return output([f"{tool}-save"])
    except ClusterFault:  # not installed, or the kernel has none of its tables
        return ""


def parse(saved: str) -> Tables:
    """Read what iptables-save prints."""
    tables: Tables = {}
    chains: list[str] = []
    rules: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            chains, rules = tables.setdefault(line[1:], ([], []))
        elif line.startswith(":"):
            chains.append(line[1:].split()[0])
        elif line.startswith("-A "):
            rules.append(line)
    return tables


def removal(tables: Tables) -> Iterator[str]:
    """Give the lines for iptables-restore --noflush that remove our chains and what leads there."""
    for name, table in tables.items():
        mine = _chains(table)
        if not mine:
            continue
        yield f"*{name}\n"
        for rule in table[1]:
            if _chain(rule) not in mine and _target(rule) in mine:
                yield f"-D{rule[2:]}\n"
        yield from (f"-F {chain}\n" for chain in sorted(mine))
        yield from (f"-X {chain}\n" for chain in sorted(mine))
        yield "COMMIT\n"


def _chains(table: tuple[list[str], list[str]]) -> set[str]:
    chains, rules = table
    mine = {chain for chain in chains if _KUBERNETES.match(chain)}
    cni = {chain for chain in chains if _CNI.match(chain)}
    # Whose a chain of the CNI plugins is, is written on the rule that leads to it.
    named = {_target(rule) for rule in rules if f'name: \\"{NETWORK}\\"' in rule} & cni
    shared = {chain for chain in cni if chain.startswith(("CNI-HOSTPORT", "CNI-ADMIN"))}
    return mine | named | (shared if not cni - named - shared else set())


def _chain(rule: str) -> str:
    return rule.split()[1]


def _target(rule: str) -> str:
    found = _TARGET.search(rule)
    return found[1] if found else ""
