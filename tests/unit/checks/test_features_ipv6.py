import json
import shlex
from typing import Any

import pytest

from ebpfcheck.checks import features_ipv6
from ebpfcheck.model.cluster import CalicoNode, Installation, IpPool, NodeAddresses, ServiceAddress, Services, Users
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list these")
V4, V6 = IpPool(name="four", cidr="192.168.0.0/16"), IpPool(name="six", cidr="fd00::/48")
OFF_V6 = IpPool(name="six", cidr="fd00::/48", disabled=True)
OFF, ON, DEFAULT = (NodeKind(felix=known(FelixSettings(ipv6_support=one))) for one in (False, True, None))
UNSEEN = NodeKind(felix=FORBIDDEN)
DUAL = known(NodeAddresses(dual=3))
SIX = Services(count=5, ipv6=Users(count=2, examples=("a/b", "c/d")))


def address(*ips: str) -> Fact[ServiceAddress]:
    return known(ServiceAddress(cluster_ips=ips, port=443))


def judged(*kinds: NodeKind, **more: Any) -> Finding:
    """Judge a cluster of IPv4 alone with Felix's IPv6 off, unless something else is said."""
    facts: dict[str, Any] = {
        "version": "v3.32.1",
        "install": "manifest",
        "ip_pools": known((V4,)),
        "services": known(Services(count=5)),
        "service_cidrs": known(("10.96.0.0/12",)),
        "kubernetes_service": address("10.96.0.1"),
        "node_addresses": known(NodeAddresses(ipv4=3)),
        "calico_node": known(CalicoNode(namespace="kube-system", name="calico-node", image="")),
        "installation": ABSENT,
        **more,
    }
    pools = facts["ip_pools"]
    if (
        "node_addresses" not in more
        and isinstance(pools, Known)
        and any(":" in pool.cidr and not pool.disabled for pool in pools.value)
    ):
        # A pool alone is no sign that pods have addresses of it.
        facts["node_addresses"] = DUAL
    return judged_cluster(features_ipv6.ipv6, *(kinds or (OFF,)), **facts)


@pytest.mark.parametrize("version", ["v3.16", "v3.26", "v3.27", "v3.28", "v3.32.1"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"node_addresses": DUAL},
        {"ip_pools": known((V4, OFF_V6))},
        {"service_cidrs": known(("10.96.0.0/12", "fd00:1::/108"))},
        {"service_cidrs": ABSENT},
        {"services": FORBIDDEN},
        {"ip_pools": ABSENT},
        {"ip_pools": known(())},
        {"kubernetes_service": FORBIDDEN},
        {"node_addresses": ABSENT},
    ],
)
def test_ipv4_alone_is_no_matter(version: str, changes: dict[str, Any]) -> None:
    finding = judged(version=version, **changes)
    assert finding.status is Status.PASS
    assert finding.severity is Severity.BLOCKER
    assert not finding.note
    assert ("nodes alone" in finding.message) is (changes.get("node_addresses") == DUAL)


USES: list[tuple[dict[str, Any], str]] = [
    ({"ip_pools": known((V4, V6))}, "IPPool six (fd00::/48)"),
    ({"services": known(SIX)}, "2 Services (a/b, c/d) with IPv6 addresses"),
    (
        {"services": FORBIDDEN, "service_cidrs": ABSENT, "kubernetes_service": address("fd00:1::1")},
        "default/kubernetes",
    ),
    ({"services": FORBIDDEN, "service_cidrs": known(("fd00:1::/108",))}, "Services' range fd00:1::/108"),
    ({"node_addresses": known(NodeAddresses(ipv6=3))}, "nodes that have no IPv4 address"),
    ({"ip_pools": known((IpPool(name="\x1b[2J", cidr="fd00::/48"),))}, "\\x1b[2J"),
    ({"ip_pools": known((V6,)), "services": FORBIDDEN, "node_addresses": FORBIDDEN}, "IPPool six"),
]


@pytest.mark.parametrize(("changes", "words"), USES)
@pytest.mark.parametrize(
    ("version", "kind", "status", "said"),
    [
        ("v3.13", ON, Status.FAIL, "has none"),
        ("v3.26.5", ON, Status.FAIL, "has none"),
        ("v3.26.5", UNSEEN, Status.FAIL, "has none"),
        ("v3.28.0", OFF, Status.FAIL, "ipv6Support is false"),
        ("v3.32.1", OFF, Status.FAIL, "ipv6Support is false"),
        ("v3.28.0", UNSEEN, Status.UNKNOWN, "not allowed"),
    ],
)
def test_what_uses_ipv6(
    changes: dict[str, Any], words: str, version: str, kind: NodeKind, status: Status, said: str
) -> None:
    finding = judged(kind, version=version, **changes)
    assert finding.status is status
    assert words in finding.message
    assert said in finding.message


@pytest.mark.parametrize(("changes", "words"), USES)
@pytest.mark.parametrize("kind", [ON, DEFAULT, NodeKind(felix=ABSENT)])
def test_ipv6_where_felix_does_it(changes: dict[str, Any], words: str, kind: NodeKind) -> None:
    finding = judged(kind, version="v3.28", **changes)
    assert finding.status is Status.PASS
    assert words in finding.observed


def test_some_nodes_without_it_are_enough() -> None:
    assert judged(ON, OFF, ip_pools=known((V6,))).status is Status.FAIL
    assert judged(ON, OFF, UNSEEN, ip_pools=known((V6,))).status is Status.FAIL
    assert judged(ON, UNSEEN, ip_pools=known((V6,))).status is Status.UNKNOWN
    assert judged(ON, UNSEEN).status is Status.PASS


@pytest.mark.parametrize(
    "changes",
    [
        {"ip_pools": FORBIDDEN},
        {"services": FORBIDDEN, "service_cidrs": ABSENT},
        {"services": FORBIDDEN, "service_cidrs": FORBIDDEN},
        {"services": FORBIDDEN, "service_cidrs": known(())},
        {"node_addresses": FORBIDDEN},
        {"ip_pools": known(()), "node_addresses": DUAL},
        {"ip_pools": known((OFF_V6,)), "node_addresses": DUAL},
        {"ip_pools": ABSENT, "node_addresses": DUAL},
    ],
)
def test_what_could_use_ipv6_unseen(changes: dict[str, Any]) -> None:
    for version in ("v3.26", "v3.27", "v3.28", "v3.32.1"):
        assert judged(version=version, **changes).status is Status.UNKNOWN
    # Where Felix does both, it does not matter who uses which.
    assert judged(ON, version="v3.28", **changes).status is Status.PASS


def test_why_it_could_not_be_seen() -> None:
    assert "not allowed" in judged(ip_pools=FORBIDDEN, node_addresses=DUAL).message
    assert "from another network" in judged(ip_pools=ABSENT, node_addresses=DUAL).message


# One family at a time.

NOTHING = {
    "ip_pools": known(()),
    "kubernetes_service": FORBIDDEN,
    "node_addresses": known(NodeAddresses(none=3)),
}
SIX_ALONE = {
    "ip_pools": known((V6,)),
    "services": known(SIX),
    "kubernetes_service": address("fd00:1::1"),
    "node_addresses": known(NodeAddresses(ipv6=3)),
}


@pytest.mark.parametrize(
    ("changes", "kinds", "status", "words"),
    [
        ({}, (ON,), Status.FAIL, "does IPv6 alone"),
        ({}, (DEFAULT,), Status.FAIL, "does IPv6 alone"),
        ({}, (OFF, ON), Status.FAIL, "does IPv6 alone"),
        ({"services": FORBIDDEN, "service_cidrs": ABSENT}, (ON,), Status.FAIL, "does IPv6 alone"),
        ({}, (UNSEEN,), Status.UNKNOWN, "IPv4 is in use"),
        ({}, (OFF, UNSEEN), Status.UNKNOWN, "not allowed"),
        ({"ip_pools": known((V4, V6))}, (ON,), Status.FAIL, "one of them at a time"),
        ({"ip_pools": known((V4, V6))}, (OFF,), Status.FAIL, "one of them at a time"),
        ({"ip_pools": known((V4, V6))}, (UNSEEN,), Status.FAIL, "one of them at a time"),
        ({**SIX_ALONE, "ip_pools": known((V4,))}, (ON,), Status.FAIL, "one of them at a time"),
        ({**SIX_ALONE, "kubernetes_service": address("10.96.0.1")}, (ON,), Status.FAIL, "one of them at a time"),
        ({**SIX_ALONE, "node_addresses": known(NodeAddresses(ipv4=1))}, (ON,), Status.FAIL, "one of them at a time"),
        ({**NOTHING, "services": FORBIDDEN, "service_cidrs": ABSENT}, (ON,), Status.UNKNOWN, "not allowed"),
        (NOTHING, (ON,), Status.PASS, "Neither"),
        (NOTHING, (UNSEEN,), Status.PASS, "Neither"),
        (SIX_ALONE, (ON,), Status.WARN, "technology preview"),
        (SIX_ALONE, (DEFAULT,), Status.WARN, "technology preview"),
        (SIX_ALONE, (OFF,), Status.FAIL, "ipv6Support is false"),
        (SIX_ALONE, (UNSEEN,), Status.UNKNOWN, "not allowed"),
        ({**SIX_ALONE, "calico_node": ABSENT}, (NodeKind(felix=ABSENT),), Status.PASS, "not installed"),
        ({"calico_node": ABSENT}, (NodeKind(felix=ABSENT),), Status.PASS, "Neither"),
        ({"calico_node": ABSENT, "ip_pools": known((V4, V6))}, (ON,), Status.FAIL, "one of them at a time"),
    ],
)
def test_the_release_of_one_family(
    changes: dict[str, Any], kinds: tuple[NodeKind, ...], status: Status, words: str
) -> None:
    finding = judged(*kinds, version="v3.27.5", **changes)
    assert finding.status is status
    assert words in finding.message


def test_calico_that_is_not_installed_yet() -> None:
    facts: dict[str, Any] = {"calico_node": ABSENT, "ip_pools": ABSENT, "services": known(SIX)}
    finding = judged(NodeKind(felix=ABSENT), **facts)
    assert finding.status is Status.PASS
    assert finding.note
    assert "needs ipv6Support" in finding.message
    assert judged(version="v3.26", **facts).status is Status.FAIL
    assert judged(calico_node=ABSENT, ip_pools=ABSENT).status is Status.PASS
    assert judged(**{**facts, "installation": known(Installation())}).status is Status.FAIL


# Remedies.


def commands(finding: Finding) -> tuple[str, ...]:
    assert finding.remediation is not None
    return finding.remediation.commands


def test_how_ipv6_is_switched_on() -> None:
    (command,) = commands(judged(ip_pools=known((V6,))))
    assert json.loads(shlex.split(command)[-1]) == {"spec": {"ipv6Support": True}}
    node = CalicoNode(namespace="kube-system", name="a b", image="", env=(("FELIX_IPV6SUPPORT", "false"),))
    assert commands(judged(ip_pools=known((V6,)), calico_node=known(node))) == (
        "kubectl -n kube-system set env daemonset/'a b' -c calico-node FELIX_IPV6SUPPORT=true IP6=autodetect",
    )
    (command,) = commands(judged(ip_pools=known((V6,)), install="operator"))
    assert command.startswith("kubectl patch installation default --type merge -p ")
    patch = {"spec": {"calicoNetwork": {"nodeAddressAutodetectionV6": {"firstFound": True}}}}
    assert json.loads(shlex.split(command)[-1]) == patch


def test_how_ipv6_is_switched_off() -> None:
    (command,) = commands(judged(ON, version="v3.27"))
    assert json.loads(shlex.split(command)[-1]) == {"spec": {"ipv6Support": False}}
    node = CalicoNode(namespace="kube-system", name="calico-node", image="", env=(("FELIX_IPV6SUPPORT", "true"),))
    assert commands(judged(ON, version="v3.27", calico_node=known(node))) == (
        "kubectl -n kube-system set env daemonset/calico-node -c calico-node FELIX_IPV6SUPPORT=false",
    )
    (command,) = commands(judged(ON, version="v3.27", install="operator"))
    assert json.loads(shlex.split(command)[-1]) == {"spec": {"calicoNetwork": {"nodeAddressAutodetectionV6": None}}}


def test_many_pools_are_cut_short() -> None:
    pools = tuple(IpPool(name=f"p{number}", cidr="fd00::/64") for number in range(5))
    assert "IPPool p2 (fd00::/64), 2 more IPPools" in judged(ip_pools=known(pools)).message
    assert "p3" not in judged(ip_pools=known(pools)).message
    assert "more" not in judged(ip_pools=known(pools[:3])).message


@pytest.mark.parametrize(
    ("version", "settings", "status"),
    [
        ("v3.26.5", OFF, Status.WARN),
        ("v3.27.3", OFF, Status.WARN),
        # That IPv4 goes without Services there is the same as without the pool.
        ("v3.27.3", ON, Status.FAIL),
        ("v3.32.1", OFF, Status.WARN),
        ("v3.32.1", ON, Status.PASS),
    ],
)
def test_a_pool_that_calico_node_made_by_itself_is_no_use_of_ipv6(
    version: str, settings: NodeKind, status: Status
) -> None:
    alone = {"ip_pools": known((V4, V6)), "node_addresses": known(NodeAddresses(ipv4=3))}
    finding = judged(settings, version=version, **alone)
    assert finding.status is status
    assert ("makes such a pool by itself" in finding.message) is (status is Status.WARN)
    # With Services, or nodes, that have IPv6 it is one.
    if settings is OFF:
        assert judged(settings, version=version, **{**alone, "services": known(SIX)}).status is Status.FAIL
        assert judged(settings, version=version, **{**alone, "node_addresses": DUAL}).status is Status.FAIL
        assert judged(settings, version=version, **{**alone, "node_addresses": FORBIDDEN}).status is Status.FAIL
