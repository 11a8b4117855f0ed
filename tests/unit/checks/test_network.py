import shlex
from typing import Any

import pytest

from ebpfcheck.checks import network
from ebpfcheck.model.facts import Fact, Link, Reason, Unknown
from ebpfcheck.model.report import Status
from tests.builders import judged, kind, known

FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")


def link(name: str, kind_of: str = "ethernet", *, default: bool = False, lower: tuple[str, ...] = ()) -> Link:
    return Link(name=name, kind=kind_of, mtu=1500, is_up=True, has_default_route=default, lower=lower)


def links(*found: Link) -> Fact[Any]:
    return known(found)


def only(name: str) -> Fact[Any]:
    return links(link(name, default=True), link("dummy0"))


BOND = (link("bond0", "bond", default=True, lower=("eth0", "eth1")), link("eth0"), link("eth1"))
BRIDGE = (link("br0", "bridge", default=True, lower=("eth0",)), link("eth0"))
VLAN = (link("eth0.10", "vlan", default=True, lower=("eth0",)), link("eth0"))
DOCKER = (link("eth0", default=True), link("docker0", "bridge", lower=("vnet1",)))


def named(name: str, mtu: int) -> Fact[Any]:
    return links(Link(name=name, kind="ethernet", mtu=mtu, is_up=True, has_default_route=True))


def sized(*sizes: int) -> Fact[Any]:
    return known(
        tuple(
            Link(name=f"eth{index}", kind="ethernet", mtu=mtu, is_up=True, has_default_route=True)
            for index, mtu in enumerate(sizes)
        )
    )


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


@pytest.mark.parametrize(
    ("found", "version", "status"),
    [
        (link("eth0", default=True), "v3.32.1", Status.PASS),
        (link("wg0", "wireguard", default=True), "v3.24", Status.FAIL),
        (link("wg0", "wireguard", default=True), "v3.25", Status.UNKNOWN),
        (link("tun0", "tun", default=True), "v3.32.1", Status.UNKNOWN),
        (link("gre1", "tunnel", default=True), "v3.32.1", Status.UNKNOWN),
        (link("wg0", "wireguard"), "v3.32.1", Status.UNKNOWN),
        (link("wireguard.cali", "wireguard", default=True), "v3.24", Status.PASS),
    ],
)
def test_default_routes_without_ethernet(found: Link, version: str, status: Status) -> None:
    assert judged(network.l3_overlay, kind(links=links(found)), version).status is status


@pytest.mark.parametrize(
    ("found", "version", "status"),
    [
        (sized(1500), "v3.32.1", Status.PASS),
        (sized(1400), "v3.32.1", Status.PASS),
        (sized(1500), "v3.16", Status.PASS),
        (sized(1460), "v3.16", Status.PASS),
        (sized(1459), "v3.16", Status.WARN),
        (sized(1459), "v3.17", Status.PASS),
        (sized(1500, 9001), "v3.32.1", Status.PASS),
        (sized(1499, 9001), "v3.16", Status.PASS),
        (named("bond0", 1500), "v3.32.1", Status.PASS),
        (named("bond0", 1400), "v3.32.1", Status.WARN),
        (named("enX0", 1400), "v3.26", Status.WARN),
        (named("env0", 1400), "v3.27", Status.PASS),
        (named("env0", 1400), "v3.26", Status.WARN),
        (named("enc0", 1400), "v3.25", Status.PASS),
        (named("enc0", 1400), "v3.24", Status.WARN),
        (links(link("eth0")), "v3.32.1", Status.UNKNOWN),
        (FORBIDDEN, "v3.32.1", Status.UNKNOWN),
    ],
)
def test_room_for_vxlan(found: Fact[Any], version: str, status: Status) -> None:
    assert judged(network.mtu, kind(links=found), version).status is status


def test_the_smallest_interface_that_felix_looks_at_counts() -> None:
    down = Link(name="eth1", kind="ethernet", mtu=1300, is_up=False, has_default_route=False)
    other = Link(name="eth2", kind="ethernet", mtu=1400, is_up=True, has_default_route=False)
    bond = Link(name="bond0", kind="bond", mtu=1450, is_up=True, has_default_route=True)
    assert judged(network.mtu, kind(links=links(bond, down))).status is Status.WARN
    assert judged(network.mtu, kind(links=links(bond, down, other))).status is Status.PASS


@pytest.mark.parametrize(
    ("driver", "status"),
    [("virtio_net", Status.PASS), ("", Status.PASS), ("vmxnet3", Status.WARN), (None, Status.UNKNOWN)],
)
def test_drivers_that_spoil_vxlan(driver: str | None, status: Status) -> None:
    nic = Link(name="eth0", kind="ethernet", mtu=1500, is_up=True, has_default_route=True, driver=driver)
    finding = judged(network.offload_vxlan, kind(links=links(nic)))
    assert finding.status is status


def test_a_vpn_beside_the_default_route_is_none_of_its_business() -> None:
    found = links(link("eth0", default=True), link("wg0", "wireguard"))
    assert judged(network.l3_overlay, kind(links=found)).status is Status.PASS


def test_without_a_default_route_no_driver_passes() -> None:
    assert judged(network.offload_vxlan, kind(links=links(link("eth0")))).status is Status.UNKNOWN


def test_drivers_below_a_vlan_on_a_bond_count() -> None:
    nic = Link(name="eth0", kind="ethernet", mtu=1500, is_up=True, has_default_route=False, driver="vmxnet3")
    bond = Link(name="bond0", kind="bond", mtu=1500, is_up=True, has_default_route=False, driver="", lower=("eth0",))
    vlan = Link(name="v5", kind="vlan", mtu=1500, is_up=True, has_default_route=True, driver="", lower=("bond0",))
    finding = judged(network.offload_vxlan, kind(links=links(nic, bond, vlan)))
    assert (finding.status, finding.observed) == (Status.WARN, "eth0 (vmxnet3)")
