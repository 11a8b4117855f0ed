from typing import Any

import pytest

from ebpfcheck.checks import base_ports
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import Bgp, CalicoNode, Deployment, Installation, IpPool, Services, Users
from ebpfcheck.model.facts import Absent, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list \x1b[1mthem")
PLAIN = kind(felix=known(FelixSettings()), provider=ABSENT)
VXLAN = "UDP 4789 (VXLAN, by which NodePorts are forwarded even without an overlay)"


def felix(provider: Any = ABSENT, **settings: Any) -> NodeKind:
    return kind(felix=known(FelixSettings(**settings)), provider=provider)


def node(backend: str | None = "vxlan") -> Any:
    env = () if backend == "unset" else (("CALICO_NETWORKING_BACKEND", backend),)
    return known(CalicoNode(namespace="kube-system", name="calico-node", image="", env=env))


def pool(ipip: str = "Never") -> Any:
    return known((IpPool(name="p", cidr="10.0.0.0/16", ipip_mode=ipip),))


def typha(desired: int | None) -> Any:
    return known(Deployment(namespace="x", name="calico-typha", image="", desired=desired))


def judged(*kinds: NodeKind, **more: Any) -> Finding:
    """Judge a cluster with manifests and VXLAN, unless something else is said."""
    version = more.pop("version", "v3.32.1")
    facts = {
        "calico_node": node(),
        "installation": ABSENT,
        "ip_pools": pool(),
        "bgp": ABSENT,
        "typha": ABSENT,
        "node_count": known(3),
        "services": known(Services()),
        **more,
    }
    return judged_cluster(base_ports.base_ports, *(kinds or (PLAIN,)), version=version, **facts)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (kind(),)):
            finding = judged_cluster(base_ports.base_ports, *kinds, version=str(minor), install=install)
            assert finding.status is Status.UNKNOWN
            assert finding.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({}, VXLAN),
        ({"ip_pools": ABSENT}, VXLAN),
        ({"ip_pools": pool("CrossSubnet")}, f"{VXLAN}, IP protocol 4 (IPIP)"),
        ({"typha": typha(2)}, f"{VXLAN}, TCP 5473 (Typha)"),
        ({"typha": typha(None)}, f"{VXLAN}, TCP 5473 (Typha)"),
        ({"typha": typha(0)}, VXLAN),
    ],
)
def test_what_is_needed(more: dict[str, Any], needed: str) -> None:
    finding = judged(**more)
    assert finding.status is Status.PASS
    assert finding.note
    assert finding.required == needed
    assert needed in finding.message


@pytest.mark.parametrize(
    ("kinds", "needed"),
    [
        ((felix(vxlan_port=8472),), VXLAN.replace("4789", "8472")),
        ((felix(vxlan_port=8472), PLAIN), VXLAN.replace("4789", "4789 and 8472")),
        ((kind(felix=ABSENT, provider=ABSENT),), VXLAN),
        ((felix(wireguard_enabled=True),), f"{VXLAN}, UDP 51820 (WireGuard)"),
        ((felix(wireguard_enabled=False, wireguard_listening_port=9),), VXLAN),
        ((felix(wireguard_enabled=True, wireguard_listening_port=9),), f"{VXLAN}, UDP 9 (WireGuard)"),
        ((felix(wireguard_enabled_v6=True),), f"{VXLAN}, UDP 51821 (WireGuard)"),
        ((felix(wireguard_enabled=True, wireguard_enabled_v6=True),), f"{VXLAN}, UDP 51820 and 51821 (WireGuard)"),
    ],
)
def test_what_felix_is_set_to(kinds: tuple[NodeKind, ...], needed: str) -> None:
    assert judged(*kinds).required == needed


OPERATOR = {"installation": known(Installation(bgp="Enabled"))}


@pytest.mark.parametrize(
    ("more", "is_needed"),
    [
        (OPERATOR, True),
        ({**OPERATOR, "calico_node": FORBIDDEN}, True),
        ({**OPERATOR, "bgp": known(Bgp())}, True),
        ({**OPERATOR, "bgp": known(Bgp(mesh=False))}, False),
        ({**OPERATOR, "bgp": known(Bgp(mesh=False, peers=1))}, True),
        ({"installation": known(Installation(bgp="Disabled")), "calico_node": node("bird")}, False),
        ({"installation": known(Installation()), "calico_node": node("bird")}, True),
        ({"calico_node": node("bird")}, True),
        ({"calico_node": node("unset")}, True),
        ({"calico_node": node("gobgp")}, True),
        ({"calico_node": node("vxlan")}, False),
        ({"calico_node": node("none"), "bgp": FORBIDDEN}, False),
    ],
)
def test_bgp(more: dict[str, Any], is_needed: bool) -> None:
    finding = judged(**more)
    assert finding.status is Status.PASS
    assert ("TCP 179 (BGP" in finding.required) is is_needed


@pytest.mark.parametrize(
    ("kinds", "more", "words"),
    [
        ((kind(felix=FORBIDDEN),), {}, "whether vxlanPort is set, and WireGuard is on (not allowed"),
        ((PLAIN,), {**OPERATOR, "bgp": FORBIDDEN}, "whether nodes speak BGP (not allowed"),
        ((PLAIN,), {"calico_node": node(None)}, "whether nodes speak BGP (CALICO_NETWORKING_BACKEND"),
        ((PLAIN,), {"calico_node": node("x\x1b")}, "whether nodes speak BGP (CALICO_NETWORKING_BACKEND"),
        ((PLAIN,), {"calico_node": FORBIDDEN}, "whether nodes speak BGP (not allowed"),
        ((PLAIN,), {"calico_node": ABSENT, "installation": FORBIDDEN}, "whether nodes speak BGP"),
        ((PLAIN,), {"ip_pools": FORBIDDEN}, "whether IPPools use IPIP (not allowed"),
        ((PLAIN,), {"typha": FORBIDDEN}, "whether there is Typha (not allowed"),
    ],
)
def test_what_could_not_be_told(kinds: tuple[NodeKind, ...], more: dict[str, Any], words: str) -> None:
    finding = judged(*kinds, **more)
    assert finding.status is Status.UNKNOWN
    assert words in finding.message
    assert "UDP 4789" in finding.required
    assert "\x1b" not in finding.message


def test_where_nothing_goes_between_nodes() -> None:
    assert judged(calico_node=ABSENT).status is Status.NOT_APPLICABLE
    one = judged(node_count=known(1))
    assert (one.status, one.note) == (Status.PASS, False)
    assert judged(node_count=FORBIDDEN).note


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        (("aws",), "in the nodes' security groups that"),
        (("azure",), "in the nodes' network security groups that"),
        (("gce",), "in the VPC's firewall rules that"),
        (("gce", "aws"), "in the nodes' security groups and the VPC's firewall rules that"),
        (("vsphere",), "in the firewalls between nodes, and on them that"),
    ],
)
def test_whom_to_ask(providers: tuple[str, ...], words: str) -> None:
    assert words in judged(*(felix(known(provider)) for provider in providers)).message


@pytest.mark.parametrize(
    ("provider", "balancers", "is_told"),
    [("aws", 2, True), ("gce", 1, True), ("aws", 0, False), ("azure", 2, False), ("vsphere", 2, False)],
)
def test_the_clouds_load_balancers(provider: str, balancers: int, is_told: bool) -> None:
    services = known(Services(load_balancers=Users(count=balancers)))
    assert ("TCP 10256" in judged(felix(known(provider)), services=services).message) is is_told
    assert "TCP 10256" not in judged(felix(known(provider)), services=FORBIDDEN).message
