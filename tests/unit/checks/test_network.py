import shlex
from typing import Any

import pytest

from ebpfcheck.checks import network
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Link, Reason, Unknown
from ebpfcheck.model.report import Status
from tests.builders import judged, kind, known

ABSENT = Absent(source=0)
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
        (VLAN, "v3.30", Status.UNKNOWN),
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
        (link("wg0", "wireguard", default=True), "v3.32.1", Status.UNKNOWN),
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


def test_an_interface_without_carrier_does_not_count_for_the_mtu() -> None:
    idle = Link(name="eth1", kind="ethernet", mtu=1300, is_up=True, is_running=False)
    bond = Link(name="bond0", kind="bond", mtu=1400, is_up=True, has_default_route=True)
    assert judged(network.mtu, kind(links=links(bond, idle))).status is Status.WARN


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
    assert judged(network.l3_overlay, kind(links=found, udp_ports=known((53,)))).status is Status.PASS


def test_without_a_default_route_no_driver_passes() -> None:
    assert judged(network.offload_vxlan, kind(links=links(link("eth0")))).status is Status.UNKNOWN


def test_drivers_below_a_vlan_on_a_bond_count() -> None:
    nic = Link(name="eth0", kind="ethernet", mtu=1500, is_up=True, has_default_route=False, driver="vmxnet3")
    bond = Link(name="bond0", kind="bond", mtu=1500, is_up=True, has_default_route=False, driver="", lower=("eth0",))
    vlan = Link(name="v5", kind="vlan", mtu=1500, is_up=True, has_default_route=True, driver="", lower=("bond0",))
    finding = judged(network.offload_vxlan, kind(links=links(nic, bond, vlan)))
    assert (finding.status, finding.observed) == (Status.WARN, "eth0 (vmxnet3)")


def felix(**settings: Any) -> Fact[Any]:
    return known(FelixSettings(**settings))


TWO = links(link("eno1"), link("eth0", default=True), link("br0", "bridge"))


@pytest.mark.parametrize(
    ("found", "owners", "settings", "status"),
    [
        (only("em1"), ABSENT, felix(), Status.FAIL),
        (only("em1"), ABSENT, felix(bpf_data_iface_pattern="^em1$"), Status.PASS),
        (only("em1"), ABSENT, felix(bpf_data_iface_pattern="^eth"), Status.FAIL),
        (only("eth0"), ABSENT, felix(bpf_data_iface_pattern="^em1$"), Status.FAIL),
        (only("eth0"), ABSENT, felix(bpf_data_iface_pattern="(("), Status.UNKNOWN),
        (only("eth0"), ABSENT, felix(), Status.PASS),
        (TWO, known(("eno1",)), felix(), Status.PASS),
        (TWO, known(("br0",)), felix(), Status.FAIL),
        (TWO, known(("br0",)), FORBIDDEN, Status.UNKNOWN),
        (TWO, known(("eno1",)), felix(bpf_data_iface_pattern="^eno"), Status.WARN),
        (TWO, known(("eno1",)), felix(bpf_data_iface_pattern="^eth"), Status.FAIL),
        (links(link("eth0")), known(("eth0",)), felix(), Status.PASS),
        (links(link("eth0")), ABSENT, felix(), Status.UNKNOWN),
        (links(link("wg0", "wireguard", default=True)), ABSENT, felix(bpf_l3_iface_pattern="^wg"), Status.PASS),
        (links(link("wg0", "wireguard", default=True)), ABSENT, felix(bpf_l3_iface_pattern="(("), Status.UNKNOWN),
    ],
)
def test_the_pattern_in_force_against_the_interfaces_that_matter(
    found: Fact[Any], owners: Fact[Any], settings: Fact[Any], status: Status
) -> None:
    facts = kind(links=found, node_address_links=owners, felix=settings)
    assert judged(network.data_iface, facts).status is status


def test_where_one_of_two_default_routes_is_matched_it_is_not_known_which_counts() -> None:
    found = links(link("em1", default=True), link("eth0", default=True))
    assert judged(network.data_iface, kind(links=found, felix=felix())).status is Status.UNKNOWN
    owned = kind(links=found, node_address_links=known(("em1",)), felix=felix())
    assert judged(network.data_iface, owned).status is Status.FAIL
    neither = links(link("em1", default=True), link("em2", default=True))
    assert judged(network.data_iface, kind(links=neither, felix=felix())).status is Status.FAIL


def test_the_pattern_to_set_keeps_what_the_users_own_matches() -> None:
    facts = kind(links=only("em1"), felix=felix(bpf_data_iface_pattern="^eth|^wlan"))
    finding = judged(network.data_iface, facts)
    assert finding.remediation is not None
    assert '"^eth|^wlan|^(em1$)"' in finding.remediation.commands[0]


def test_where_the_patch_decides_it_is_asked_for() -> None:
    facts = kind(links=only("bond0"), felix=felix())
    finding = judged(network.data_iface, facts, "v3.28")
    assert finding.status is Status.UNKNOWN
    assert "Name the patch" in finding.message
    assert judged(network.data_iface, facts, "v3.28.0").status is Status.FAIL
    assert judged(network.data_iface, facts, "v3.28.1").status is Status.PASS


def test_an_address_on_a_dummy_is_the_default_routes_business() -> None:
    found = links(link("eth0", default=True), link("anycast0", "dummy"))
    facts = kind(links=found, node_address_links=known(("anycast0",)), felix=felix())
    assert judged(network.data_iface, facts).status is Status.PASS


def test_a_pattern_set_by_hand_has_to_name_calicos_own_devices_in_older_releases() -> None:
    facts = kind(
        links=links(link("eth0", default=True), link("vxlan.calico", "vxlan")),
        felix=felix(bpf_data_iface_pattern="^eth0$"),
    )
    finding = judged(network.data_iface, facts, "v3.29.3")
    assert finding.status is Status.FAIL
    assert finding.remediation is not None
    assert "vxlan" in finding.remediation.commands[0]
    assert judged(network.data_iface, facts, "v3.30").status is Status.PASS
    # vxlan.calico is in the default from v3.20 on.
    assert judged(network.data_iface, facts, "v3.20").status is Status.FAIL
    assert judged(network.data_iface, facts, "v3.19").status is Status.PASS
    assert judged(network.data_iface, kind(links=facts.links, felix=felix()), "v3.29.3").status is Status.PASS


@pytest.mark.parametrize(
    ("offloads", "version", "status", "note"),
    [
        (known((("eth0", ("rx-vlan-offload",)),)), "v3.30", Status.PASS, False),
        (known((("eth0", ()),)), "v3.30", Status.WARN, False),
        (known(()), "v3.30", Status.UNKNOWN, False),
        (FORBIDDEN, "v3.30", Status.UNKNOWN, False),
    ],
)
def test_vlans_need_a_nic_that_takes_the_tags_off(
    offloads: Fact[Any], version: str, status: Status, note: bool
) -> None:
    finding = judged(network.iface_topology, kind(links=known(VLAN), offloads=offloads), version)
    assert (finding.status, finding.note) == (status, note)


def test_the_nics_below_a_bond_count_for_a_vlan_on_it() -> None:
    nics = tuple(
        Link(name=name, kind="ethernet", mtu=1500, is_up=True, driver="mlx5_core") for name in ("eth0", "eth1")
    )
    bond = Link(name="bond0", kind="bond", mtu=1500, is_up=True, driver="", lower=("eth0", "eth1"))
    vlan = Link(name="bond0.5", kind="vlan", mtu=1500, is_up=True, driver="", lower=("bond0",), has_default_route=True)
    found = known((*nics, bond, vlan))
    for of_eth1, status in ((("rx-vlan-offload",), Status.PASS), ((), Status.WARN)):
        offloads = known((("eth0", ("rx-vlan-offload",)), ("eth1", of_eth1)))
        assert judged(network.iface_topology, kind(links=found, offloads=offloads)).status is status
    virtual = known((Link(name="eth0", kind="ethernet", mtu=1500, is_up=True, driver=""), VLAN[0]))
    assert judged(network.iface_topology, kind(links=virtual, offloads=known(()))).status is Status.UNKNOWN


def test_vlans_are_not_supported_by_older_releases_whatever_the_pattern() -> None:
    facts = kind(links=known(VLAN), felix=felix(bpf_data_iface_pattern=r"^eth0\.10$"))
    finding = judged(network.iface_topology, facts, "v3.29")
    assert finding.status is Status.WARN
    assert "VLAN device" in finding.message


def test_a_pattern_that_is_set_decides_which_members_are_hit() -> None:
    bond_alone = kind(links=known(BOND), felix=felix(bpf_data_iface_pattern="^bond0$"))
    assert judged(network.iface_topology, bond_alone, "v3.29").status is Status.PASS
    slaves = kind(links=known(BRIDGE), felix=felix(bpf_data_iface_pattern="^eth0$"))
    assert "pattern that is set" in judged(network.iface_topology, slaves).message


ROUTED = links(link("wg0", "wireguard", default=True))


@pytest.mark.parametrize(
    ("found", "udp", "settings", "version", "status"),
    [
        (ROUTED, (51821,), felix(), "v3.31", Status.FAIL),
        (ROUTED, (51821,), felix(bpf_l3_iface_pattern="^wg0$"), "v3.31", Status.PASS),
        (ROUTED, (51821,), felix(bpf_l3_iface_pattern="^tun0$"), "v3.31", Status.FAIL),
        (ROUTED, (51821,), felix(bpf_l3_iface_pattern="(("), "v3.31", Status.UNKNOWN),
        (ROUTED, (51820,), felix(bpf_l3_iface_pattern="^wg0$"), "v3.31", Status.PASS),
        (ROUTED, (51820,), felix(bpf_l3_iface_pattern="^wg0$"), "v3.32.1", Status.FAIL),
        (links(link("eth0", default=True), link("wg0", "wireguard")), (51820,), felix(), "v3.32.0", Status.WARN),
        (links(link("eth0", default=True), link("wg0", "wireguard")), (51820,), felix(), "v3.32", Status.WARN),
        (links(link("eth0", default=True), link("wg0", "wireguard")), (51820,), felix(), "v3.33", Status.PASS),
        (ROUTED, (51820,), felix(bpf_l3_iface_pattern="^wg0$"), "v3.32", Status.UNKNOWN),
        (
            links(link("eth0", default=True), link("wg0", "wireguard"), link("wireguard.cali", "wireguard")),
            (51820,),
            felix(),
            "v3.32.1",
            Status.PASS,
        ),
        # From some release on WireGuard and tun are known by their kind, whichever pattern names them.
        (ROUTED, (51821,), felix(bpf_data_iface_pattern="^wg0$"), "v3.31", Status.PASS),
        (ROUTED, (51821,), felix(bpf_data_iface_pattern="^wg0$"), "v3.28.0", Status.FAIL),
        (
            links(link("gre1", "tunnel", default=True)),
            (51821,),
            felix(bpf_data_iface_pattern="^gre1$"),
            "v3.31",
            Status.FAIL,
        ),
        (links(link("eth0", default=True), link("wg0", "wireguard")), (51821,), felix(), "v3.32.0", Status.PASS),
        (
            links(link("eth0", default=True), link("wireguard.cali", "wireguard")),
            (51820,),
            felix(),
            "v3.32.0",
            Status.PASS,
        ),
    ],
)
def test_wireguard_of_the_users_own(
    found: Fact[Any], udp: tuple[int, ...], settings: Fact[Any], version: str, status: Status
) -> None:
    facts = kind(links=found, udp_ports=known(udp), felix=settings)
    assert judged(network.l3_overlay, facts, version).status is status


def test_wireguard_on_a_port_that_was_not_seen_is_unknown() -> None:
    found = links(link("eth0", default=True), link("wg0", "wireguard"))
    assert judged(network.l3_overlay, kind(links=found, udp_ports=FORBIDDEN), "v3.32.1").status is Status.UNKNOWN
    assert judged(network.l3_overlay, kind(links=found, udp_ports=FORBIDDEN), "v3.31").status is Status.PASS


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        (felix(), Status.WARN),
        (felix(vxlan_mtu=1350), Status.PASS),
        (felix(vxlan_mtu=1351), Status.WARN),
        (felix(vxlan_mtu=0, mtu_iface_pattern="^bond0$"), Status.PASS),
        (felix(mtu_iface_pattern="(("), Status.UNKNOWN),
    ],
)
def test_what_felix_configuration_says_of_the_mtu(settings: Fact[Any], status: Status) -> None:
    assert judged(network.mtu, kind(links=named("bond0", 1400), felix=settings)).status is status


@pytest.mark.parametrize(
    ("offloads", "status"),
    [
        (known((("eth0", ("tx-udp_tnl-segmentation",)),)), Status.WARN),
        (known((("eth0", ("tx-checksum-ip-generic",)),)), Status.PASS),
        (known(()), Status.WARN),
        (FORBIDDEN, Status.WARN),
    ],
)
def test_a_suspect_driver_whose_offload_is_off_does_no_harm(offloads: Fact[Any], status: Status) -> None:
    nic = Link(name="eth0", kind="ethernet", mtu=1500, is_up=True, has_default_route=True, driver="vmxnet3")
    assert judged(network.offload_vxlan, kind(links=links(nic), offloads=offloads)).status is status
