"""Which chains are removed, and that nobody else's are."""

from __future__ import annotations

from tools.devcluster import firewall

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SEP-ABC - [0:0]
:CNI-1111 - [0:0]
:CNI-2222 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "name: \\"llmatrix-devcluster\\" id: \\"a\\"" -j CNI-1111
-A POSTROUTING -m comment --comment "name: \\"podman\\" id: \\"b\\"" -j CNI-2222
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SEP-ABC
-A CNI-1111 -d 10.244.0.0/24 -j ACCEPT
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCEPT
COMMIT
"""


def lines(saved: str) -> list[str]:
    return "".join(firewall.removal(firewall.parse(saved))).splitlines()


def test_what_leads_to_our_chains_goes_before_they_do() -> None:
    found = lines(SAVED)
    assert found[0] == "*nat"
    assert found[-1] == "COMMIT"
    jumps = [line for line in found if line.startswith("-D ")]
    assert [line.split()[-1] for line in jumps] == ["KUBE-SERVICES", "CNI-1111"]
    flushed = [line.split()[1] for line in found if line.startswith("-F ")]
    deleted = [line.split()[1] for line in found if line.startswith("-X ")]
    assert flushed == deleted == ["CNI-1111", "KUBE-SEP-ABC", "KUBE-SERVICES"]
    assert found.index("-F KUBE-SERVICES") < found.index("-X KUBE-SEP-ABC")


def test_a_rule_of_a_chain_of_ours_goes_with_the_chain() -> None:
    assert not [line for line in lines(SAVED) if line.startswith("-D KUBE-SERVICES")]


def test_chains_that_networks_share_stay_while_another_network_has_one() -> None:
    assert not [line for line in lines(SAVED) if "CNI-HOSTPORT-DNAT" in line]
    alone = "\n".join(line for line in SAVED.splitlines() if "CNI-2222" not in line)
    assert "-X CNI-HOSTPORT-DNAT" in lines(alone)
    assert "-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT" in lines(alone)


def test_nothing_is_done_to_tables_without_our_chains() -> None:
    assert "*filter" not in lines(SAVED)
    assert lines("*nat\n:DOCKER - [0:0]\n-A DOCKER -j RETURN\nCOMMIT\n") == []
