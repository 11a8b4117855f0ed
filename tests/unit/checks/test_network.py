import shlex
from typing import Any

import pytest

from ebpfcheck.checks import network
from ebpfcheck.model.check import Check
from ebpfcheck.model.facts import Absent, Fact, Link, Reason, Unknown, Vxlan
from ebpfcheck.model.report import Severity, Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")


def link(name: str, kind_of: str = "ethernet", *, default: bool = False, lower: tuple[str, ...] = ()) -> Link:
    return Link(name=name, kind=kind_of, mtu=1500, is_up=True, has_default_route=default, lower=lower)


def links(*found: Link) -> Fact[Any]:
    return known(found)


def only(name: str) -> Fact[Any]:
    return links(link(name, default=True), link("dummy0"))


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("eth0", "v3.13", Status.PASS),
        ("ens3", "v3.32.1", Status.PASS),
        ("enp1s0", "v3.16", Status.PASS),
        ("enX0", "v3.16", Status.PASS),
        ("enX0", "v3.17", Status.UNKNOWN),
        ("wlan0", "v3.16", Status.UNKNOWN),
        ("wlan0", "v3.17", Status.PASS),
        ("enP1p1s0f1", "v3.24", Status.UNKNOWN),
        ("enP1p1s0f1", "v3.25", Status.PASS),
        ("bond0", "v3.28.0", Status.UNKNOWN),
        ("bond0", "v3.28.1", Status.PASS),
        ("bond0", "v3.28", Status.UNKNOWN),
        ("bond0", "v3.29", Status.PASS),
        ("em1", "v3.32.1", Status.UNKNOWN),
        ("team0", "v3.32.1", Status.UNKNOWN),
        ("a.b+c$(d)", "v3.32.1", Status.UNKNOWN),
    ],
)
def test_the_default_pattern_of_each_release(name: str, version: str, status: Status) -> None:
    finding = judged(network.data_iface, kind(links=only(name)), version)
    assert finding.status is status
    if status is Status.UNKNOWN:
        assert finding.remediation is not None
        assert "bpfDataIfacePattern" in finding.remediation.commands[0]


def test_the_pattern_to_set_is_the_default_and_more() -> None:
    finding = judged(network.data_iface, kind(links=only("em1")), "v3.29.1")
    assert finding.remediation is not None
    assert "|wg-v6.cali$|em1$)" in finding.remediation.commands[0]


def test_some_patches_are_told_from_all() -> None:
    assert "in some of its patches" in judged(network.data_iface, kind(links=only("bond0")), "v3.28").message
    assert "in some of its patches" not in judged(network.data_iface, kind(links=only("em1")), "v3.28").message


def test_an_interface_on_top_of_the_carrier_is_the_one_that_felix_prefers() -> None:
    found = known((link("eth0", default=True), link("eth0.100", "vlan", lower=("eth0",))))
    assert judged(network.data_iface, kind(links=found), "v3.29").status is Status.PASS
    assert judged(network.data_iface, kind(links=found), "v3.30").status is Status.UNKNOWN
    other = known((link("eth0", default=True), link("vlan100", "vlan", lower=("eth0",))))
    assert judged(network.data_iface, kind(links=other), "v3.30").status is Status.PASS


def test_a_hostile_name_stays_inside_the_quotes() -> None:
    finding = judged(network.data_iface, kind(links=only("a';id;'\"b")), "v3.32.1")
    assert finding.remediation is not None
    words = shlex.split(finding.remediation.commands[0])
    assert words[:3] == ["kubectl", "patch", "felixconfiguration"]
    assert len(words) == 8


def test_a_node_without_a_default_route_is_not_judged() -> None:
    assert judged(network.data_iface, kind(links=links(link("eth0")))).status is Status.UNKNOWN
    assert judged(network.data_iface, kind(links=FORBIDDEN)).status is Status.UNKNOWN


BOND = (link("bond0", "bond", default=True, lower=("eth0", "eth1")), link("eth0"), link("eth1"))
BRIDGE = (link("br0", "bridge", default=True, lower=("eth0",)), link("eth0"))
VLAN = (link("eth0.10", "vlan", default=True, lower=("eth0",)), link("eth0"))
DOCKER = (link("eth0", default=True), link("docker0", "bridge", lower=("vnet1",)))


@pytest.mark.parametrize(
    ("found", "version", "status"),
    [
        (BOND, "v3.29", Status.WARN),
        (BOND, "v3.30", Status.PASS),
        (VLAN, "v3.29", Status.WARN),
        (VLAN, "v3.30", Status.PASS),
        ((link("team0", "team", default=True, lower=("eno1",)), link("eno1")), "v3.32.1", Status.WARN),
        ((link("vlan100", "vlan", default=True, lower=("eno1",)), link("eno1")), "v3.32.1", Status.WARN),
        (BRIDGE, "v3.29", Status.WARN),
        (BRIDGE, "v3.32.1", Status.WARN),
        (DOCKER, "v3.29", Status.PASS),
    ],
)
def test_members_of_bonds_bridges_and_vlans(found: tuple[Link, ...], version: str, status: Status) -> None:
    assert judged(network.iface_topology, kind(links=known(found)), version).status is status


def vxlan(name: str = "flannel.1", port: int = 4789, *, up: bool = True, namespace: str = "") -> Vxlan:
    return Vxlan(name=name, port=port, is_up=up, takes_all_vnis=False, namespace=namespace)


@pytest.mark.parametrize(
    ("found", "btf", "version", "status"),
    [
        ((), known(True), "v3.31", Status.PASS),
        ((vxlan(),), known(True), "v3.31", Status.FAIL),
        ((vxlan(up=False),), known(True), "v3.31", Status.WARN),
        ((vxlan(namespace="ingress"),), known(True), "v3.31", Status.WARN),
        ((vxlan(port=8472),), known(True), "v3.31", Status.PASS),
        ((vxlan("vxlan.calico"),), known(True), "v3.31", Status.PASS),
        ((vxlan(),), ABSENT, "v3.31", Status.PASS),
        ((vxlan(),), FORBIDDEN, "v3.31", Status.WARN),
        ((vxlan(),), known(True), "v3.30.7", Status.NOT_APPLICABLE),
    ],
)
def test_other_vxlan_devices(found: tuple[Vxlan, ...], btf: Fact[bool], version: str, status: Status) -> None:
    facts = kind(vxlans=known(found), vmlinux_btf=btf)
    assert judged(network.vxlan_port_conflict, facts, version).status is status


@pytest.mark.parametrize(
    ("found", "udp", "btf", "version", "status"),
    [
        ((), known((4789,)), known(True), "v3.31", Status.FAIL),
        ((), known((4789,)), ABSENT, "v3.31", Status.FAIL),
        ((), known((53,)), known(True), "v3.31", Status.PASS),
        ((), FORBIDDEN, known(True), "v3.31", Status.PASS),
        ((vxlan("vxlan.calico"),), known((4789,)), known(True), "v3.31", Status.PASS),
        ((vxlan(),), known((4789,)), ABSENT, "v3.31", Status.PASS),
        ((vxlan(),), known((4789,)), known(False), "v3.31", Status.PASS),
        ((vxlan(),), known((4789,)), ABSENT, "v3.33", Status.FAIL),
    ],
)
def test_whoever_takes_the_port(
    found: tuple[Vxlan, ...], udp: Fact[Any], btf: Fact[bool], version: str, status: Status
) -> None:
    facts = kind(vxlans=known(found), udp_ports=udp, vmlinux_btf=btf)
    assert judged(network.vxlan_port_conflict, facts, version).status is status


def test_vxlan_devices_that_could_not_be_listed() -> None:
    assert judged(network.vxlan_port_conflict, kind(vxlans=FORBIDDEN)).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("ports", "programs", "version", "status", "note"),
    [
        ((22,), known(()), "v3.32.1", Status.PASS, False),
        ((10256,), known(("kube-proxy",)), "v3.32.1", Status.PASS, False),
        ((10256,), known(("k3s",)), "v3.32.1", Status.PASS, False),
        ((10256,), known(("calico-node",)), "v3.32.1", Status.PASS, True),
        ((10256,), known(()), "v3.32.1", Status.WARN, False),
        ((10256,), known(()), "v3.30.4", Status.WARN, False),
        ((10256,), known(()), "v3.30", Status.WARN, False),
        ((10256,), known(()), "v3.30.3", Status.NOT_APPLICABLE, False),
        ((10256,), FORBIDDEN, "v3.32.1", Status.UNKNOWN, False),
    ],
)
def test_the_health_port(ports: tuple[int, ...], programs: Fact[Any], version: str, status: Status, note: bool) -> None:
    finding = judged(network.port_healthz, kind(tcp_listeners=known(ports), programs=programs), version)
    assert (finding.status, finding.note) == (status, note)


@pytest.mark.parametrize(
    ("found", "services", "status"),
    [
        ((link("eth0"),), ABSENT, Status.PASS),
        ((link("eth0"),), known(False), Status.PASS),
        ((link("kube-ipvs0"),), ABSENT, Status.FAIL),
        ((link("kube-ipvs0"),), known(True), Status.FAIL),
        ((link("eth0"),), known(True), Status.WARN),
        ((link("eth0"),), FORBIDDEN, Status.UNKNOWN),
    ],
)
def test_what_ipvs_leaves(found: tuple[Link, ...], services: Fact[bool], status: Status) -> None:
    assert judged(network.ipvs_residue, kind(links=known(found), ipvs_services=services)).status is status


@pytest.mark.parametrize(
    ("check", "facts", "version", "status"),
    [
        (network.base_ip_forward, {"ip_forward": known(1)}, "v3.32.1", Status.PASS),
        (network.base_ip_forward, {"ip_forward": known(0)}, "v3.32.1", Status.WARN),
        (network.base_ip_forward, {"ip_forward": FORBIDDEN}, "v3.32.1", Status.UNKNOWN),
        (network.firewall, {"programs": known(()), "ufw_enabled": ABSENT}, "v3.32.1", Status.PASS),
        (network.firewall, {"programs": known(()), "ufw_enabled": known(False)}, "v3.32.1", Status.PASS),
        (network.firewall, {"programs": known(()), "ufw_enabled": known(True)}, "v3.32.1", Status.WARN),
        (network.firewall, {"programs": known(("firewalld",)), "ufw_enabled": ABSENT}, "v3.32.1", Status.WARN),
        (network.firewall, {"programs": known(("firewalld",)), "ufw_enabled": FORBIDDEN}, "v3.32.1", Status.WARN),
        (network.firewall, {"programs": known(()), "ufw_enabled": FORBIDDEN}, "v3.32.1", Status.UNKNOWN),
        (network.firewall, {"programs": FORBIDDEN}, "v3.32.1", Status.UNKNOWN),
        (network.docker_bridge, {"links": links(link("docker0", "bridge"))}, "v3.26.4", Status.WARN),
        (network.docker_bridge, {"links": links(link("docker0", "bridge"))}, "v3.27", Status.NOT_APPLICABLE),
        (network.docker_bridge, {"links": links(link("eth0"))}, "v3.26.4", Status.PASS),
        (network.docker_bridge, {"links": FORBIDDEN}, "v3.26.4", Status.UNKNOWN),
        (network.bpf_residue, {"bpf_pins": ABSENT, "programs": known(())}, "v3.32.1", Status.PASS),
        (network.bpf_residue, {"bpf_pins": known(("calico",)), "programs": known(())}, "v3.32.1", Status.PASS),
        (network.bpf_residue, {"bpf_pins": known(("cilium",)), "programs": known(())}, "v3.32.1", Status.WARN),
        (network.bpf_residue, {"bpf_pins": ABSENT, "programs": known(("cilium-agent",))}, "v3.32.1", Status.WARN),
        (network.bpf_residue, {"bpf_pins": FORBIDDEN, "programs": known(())}, "v3.32.1", Status.UNKNOWN),
    ],
)
def test_simple_checks(check: Check, facts: dict[str, Fact[Any]], version: str, status: Status) -> None:
    assert judged(check, kind(**facts), version).status is status


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ((), Status.PASS),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 1",), Status.WARN),
        (("/etc/sysctl.d/a.conf: net/ipv4/conf/all/rp_filter=1",), Status.WARN),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.*.rp_filter = 1",), Status.WARN),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 2",), Status.PASS),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 0",), Status.PASS),
        (("/etc/sysctl.d/a.conf: net.ipv4.conf.default.rp_filter = 1",), Status.PASS),
    ],
)
def test_what_turns_strict_filtering_on_again(files: tuple[str, ...], status: Status) -> None:
    facts = kind(rp_filter=known((("all", 0),)), rp_filter_files=known(files))
    assert judged(network.sysctl_rp_filter, facts).status is status


def test_releases_that_leave_reverse_path_filtering_alone_are_not_judged() -> None:
    facts = kind(rp_filter=known(()), rp_filter_files=known(("/x: net.ipv4.conf.all.rp_filter=1",)))
    assert judged(network.sysctl_rp_filter, facts, "v3.26.4").status is Status.NOT_APPLICABLE
    assert judged(network.sysctl_rp_filter, facts, "v3.27").status is Status.WARN


def test_reverse_path_filtering_unseen() -> None:
    facts = kind(rp_filter=known((("all", 0),)), rp_filter_files=FORBIDDEN)
    assert judged(network.sysctl_rp_filter, facts).status is Status.UNKNOWN


TOLD = "/etc/NetworkManager/conf.d/c.conf: unmanaged-devices=interface-name:cali*;interface-name:tunl*;"


@pytest.mark.parametrize(
    ("programs", "lines", "status"),
    [
        (known(("kubelet",)), known(()), Status.PASS),
        (known(("NetworkManager",)), known(()), Status.WARN),
        (known(("NetworkManager",)), known((TOLD,)), Status.WARN),
        (known(("NetworkManager",)), known((TOLD + "interface-name:vxlan.calico",)), Status.PASS),
        (known(("NetworkManager",)), known((TOLD.replace("interface", "except:interface"),)), Status.WARN),
        (known(("NetworkManager",)), known(("/x: unmanaged-devices=interface-name:*",)), Status.PASS),
        (known(("NetworkManager",)), FORBIDDEN, Status.UNKNOWN),
        (FORBIDDEN, known(()), Status.UNKNOWN),
    ],
)
def test_networkmanager(programs: Fact[Any], lines: Fact[Any], status: Status) -> None:
    finding = judged(network.base_networkmanager, kind(programs=programs, unmanaged_devices=lines))
    assert (finding.status, finding.severity) == (status, Severity.DEGRADE)
