"""From what a node prints of its network to what is known of it."""

import pytest

from ebpfcheck.model.facts import Absent, Known, Link, Reason, Unknown, Vxlan
from tests.builders import Part, facts


def value(fact: object) -> object:
    assert isinstance(fact, Known), fact
    return fact.value


def sys_net(**attributes: dict[str, str]) -> dict[str, Part | None]:
    """Sections of /sys/class/net: attribute -> interface -> content."""
    return {
        f"link-{attribute}s": Part(
            "".join(f"/sys/class/net/{name}/{attribute.rstrip('s')}:{text}\n" for name, text in of_links.items())
        )
        for attribute, of_links in attributes.items()
    }


def test_a_healthy_nodes_network() -> None:
    kind = facts().kind
    assert value(kind.links) == (
        Link(name="ens3", kind="ethernet", mtu=1500, is_up=True, has_default_route=True, driver="virtio_net"),
    )
    assert value(kind.tcp_listeners) == (22,)
    assert value(kind.udp_ports) == (68,)
    assert value(kind.vxlans) == ()
    assert value(kind.programs) == ("containerd", "kube-proxy", "kubelet")
    assert value(kind.nft_tables) == ("ip filter", "ip nat")
    assert isinstance(kind.ipvs_services, Absent)
    assert isinstance(kind.bpf_pins, Absent)
    assert value(kind.ip_forward) == 1
    assert value(kind.rp_filter) == (("all", 0), ("ens3", 2))
    assert value(kind.rp_filter_files) == ()


def test_kinds_and_parts_of_links() -> None:
    names = ("bond0", "eth0", "eth1", "br0", "eth0.5", "vx7", "wg0", "tun0", "vm0", "ib0", "ppp0", "ipip0", "lo")
    sections = sys_net(
        mtu=dict.fromkeys(names, "1400"),
        flag=dict.fromkeys(names, "0x1002"),
        type={
            **dict.fromkeys(names, "1"),
            "wg0": "65534",
            "tun0": "65534",
            "ib0": "32",
            "ppp0": "512",
            "ipip0": "768",
            "lo": "772",
        },
    )
    sections["link-flags"] = Part("".join(f"/sys/class/net/{name}/flags:0x1002\n" for name in names))
    sections["link-events"] = Part(
        "/sys/class/net/bond0/uevent:DEVTYPE=bond\n/sys/class/net/eth0.5/uevent:DEVTYPE=vlan\n"
        "/sys/class/net/vx7/uevent:DEVTYPE=vxlan\n/sys/class/net/wg0/uevent:DEVTYPE=wireguard\n"
    )
    sections["link-parts"] = Part(
        "/sys/class/net/bond0/lower_eth1\n/sys/class/net/bond0/lower_eth0\n/sys/class/net/eth0.5/lower_eth0\n"
        "/sys/class/net/br0/bridge\n/sys/class/net/br0/lower_vx7\n/sys/class/net/bond0/bonding\n"
        "/sys/class/net/tun0/tun_flags\n/sys/class/net/vm0/tun_flags\n"
    )
    found = value(facts(sections).kind.links)
    kinds = {link.name: link.kind for link in found}  # type: ignore[attr-defined]
    assert kinds == {
        "bond0": "bond", "br0": "bridge", "eth0": "ethernet", "eth0.5": "vlan", "eth1": "ethernet", "ipip0": "tunnel",
        "tun0": "tun", "vm0": "ethernet", "ib0": "infiniband", "ppp0": "ppp", "vx7": "vxlan", "wg0": "wireguard",
    }  # fmt: skip
    lower = {link.name: link.lower for link in found if link.lower}  # type: ignore[attr-defined]
    assert lower == {"bond0": ("eth0", "eth1"), "br0": ("vx7",), "eth0.5": ("eth0",)}
    assert not any(link.is_up for link in found)  # type: ignore[attr-defined]


def test_drivers_that_could_not_be_told_are_not_missing() -> None:
    for part, driver in ((Part(state="no-tool readlink"), None), (Part(""), "")):
        found = value(facts({"link-drivers": part}).kind.links)
        assert [link.driver for link in found] == [driver]  # type: ignore[attr-defined]


def test_default_routes_of_both_families_count() -> None:
    zeros = "0" * 32
    kind = facts(
        routes=Part("ens3\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"),
        routes6=Part(f"{zeros} 00 {zeros} 00 fe80{zeros[4:]} 00000400 00000001 00000000 00000003 ens3\n"),
    ).kind
    assert [link.has_default_route for link in value(kind.links)] == [True]  # type: ignore[attr-defined]
    rejected = facts(
        routes=Part(""), routes6=Part(f"{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n")
    ).kind
    assert [link.has_default_route for link in value(rejected.links)] == [False]  # type: ignore[attr-defined]


IP = (
    '[{"ifname":"flannel.1","flags":["BROADCAST","UP"],"linkinfo":{"info_kind":"vxlan","info_data":{"id":1,"port":8472}}},'
    '{"ifname":"vxlan.calico","flags":[],"linkinfo":{"info_kind":"vxlan","info_data":{"external":true,"port":4789}}}]'
)


def test_vxlan_devices_of_the_node_and_of_named_namespaces() -> None:
    sections: dict[str, Part | None] = {"vxlans": Part(IP), "vxlans-in:ingress": Part(IP, locator="ip -n ingress link")}
    found = value(facts(sections).kind.vxlans)
    plain = Vxlan(name="flannel.1", port=8472, is_up=True, takes_all_vnis=False)
    calico = Vxlan(name="vxlan.calico", port=4789, is_up=False, takes_all_vnis=True)
    assert found[:2] == (plain, calico)  # type: ignore[index]
    assert {device.namespace for device in found[2:]} == {"ingress"}  # type: ignore[index]


@pytest.mark.parametrize("text", ["", "[]", "[{}]"])
def test_no_vxlan_device_is_none(text: str) -> None:
    assert value(facts(vxlans=Part(text)).kind.vxlans) == ()


@pytest.mark.parametrize("text", ["BusyBox v1.35", "{", "[1]", '[{"ifname": 1}]', "[" * 100_000])
def test_what_ip_does_not_print_is_unparsable(text: str) -> None:
    fact = facts(vxlans=Part(text)).kind.vxlans
    assert isinstance(fact, Unknown)
    assert fact.reason is Reason.UNPARSABLE


def test_a_namespace_that_could_not_be_looked_at_leaves_it_open() -> None:
    sections: dict[str, Part | None] = {"vxlans": Part("[]"), "vxlans-in:x": Part(state="failed ip refused")}
    assert isinstance(facts(sections).kind.vxlans, Unknown)


@pytest.mark.parametrize(
    ("own", "of_init", "host_net", "is_nodes"),
    [
        ("net:[1]", "net:[1]", "ok", True),
        ("net:[1]", "net:[2]", "ok", False),
        ("net:[1]", None, "ok", True),
        ("net:[1]", None, "absent", False),
        ("net:[4026531833]", None, "absent", True),
        (None, None, "absent", False),
    ],
)
def test_whose_network_was_seen(own: str | None, of_init: str | None, host_net: str, is_nodes: bool) -> None:
    forbidden = Part(state="forbidden it may not be read")
    kind = facts(
        {
            "net-namespace": Part(own) if own else forbidden,
            "init-net-namespace": Part(of_init) if of_init else forbidden,
            "host-net": Part(state=host_net),
        }
    ).kind
    for fact in (kind.links, kind.vxlans, kind.tcp_listeners, kind.ipvs_services, kind.ip_forward, kind.rp_filter):
        assert isinstance(fact, Unknown) is not is_nodes


def test_ports_of_both_families_without_the_ephemeral_ones() -> None:
    kind = facts(
        tcp6=Part("2810\n0016\n"),
        udp=Part("12B5\nC350\n"),
    ).kind
    assert value(kind.tcp_listeners) == (22, 10256)
    assert value(kind.udp_ports) == (4789,)
    assert value(facts(tcp6=Part(state="absent")).kind.tcp_listeners) == (22,)
    assert isinstance(facts(tcp6=Part(state="forbidden x")).kind.tcp_listeners, Unknown)
    assert isinstance(facts(tcp6=Part("2810\ngarbage\n")).kind.tcp_listeners, Unknown)


def test_hidden_processes_are_not_missing_programs() -> None:
    assert isinstance(facts(init=Part(state="absent")).kind.programs, Unknown)


@pytest.mark.parametrize(
    ("text", "owners"),
    [
        ("/sys/fs/bpf/tc\n/sys/fs/bpf/tc/globals\n/sys/fs/bpf/tc/globals/cali_v4_ct3\n", ("calico",)),
        ("/sys/fs/bpf/calico\n/sys/fs/bpf/calico/ctlb\n", ("calico",)),
        ("/sys/fs/bpf/tcx\n/sys/fs/bpf/tcx/eth0_ingress\n", ("calico",)),
        ("/sys/fs/bpf/tc\n/sys/fs/bpf/tc/globals\n/sys/fs/bpf/tc/globals/cilium_ct4\n", ("cilium",)),
        ("/sys/fs/bpf/cilium\n/sys/fs/bpf/mine\n", ("cilium", "other")),
    ],
)
def test_who_pinned_in_bpffs(text: str, owners: tuple[str, ...]) -> None:
    assert value(facts(pins=Part(text)).kind.bpf_pins) == owners


def test_settings_that_are_comments_do_not_count() -> None:
    text = (
        "/etc/sysctl.d/a.conf:net.ipv4.conf.all.rp_filter = 1\n/etc/sysctl.d/a.conf:# net.ipv4.conf.all.rp_filter=1\n"
        "/etc/sysctl.d/b.conf:  ; rp_filter\n"
    )
    assert value(facts({"sysctl-files": Part(text)}).kind.rp_filter_files) == (
        "/etc/sysctl.d/a.conf: net.ipv4.conf.all.rp_filter = 1",
    )


ADDRESSES = """1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.0.4/24 metric 100 brd 10.0.0.255 scope global dynamic eth0\\       valid_lft 3000sec
2: eth0    inet6 2001:db8::4/64 scope global \\       valid_lft forever preferred_lft forever
2: eth0    inet6 fe80::1/64 scope link \\       valid_lft forever preferred_lft forever
3: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\\       valid_lft forever preferred_lft forever
4: eth0.5@eth0    inet 192.0.2.1/30 scope global eth0.5\\       valid_lft forever preferred_lft forever
9: cali0123456789a    inet 169.254.1.1/32 scope global cali0123456789a\\       valid_lft forever
"""


def test_addresses_are_the_nodes_own() -> None:
    assert facts(addresses=Part(ADDRESSES)).identity.addresses == (
        ("eth0", "10.0.0.4/24"),
        ("eth0", "2001:db8::4/64"),
        ("tun0", "10.8.0.2/32"),
        ("eth0.5", "192.0.2.1/30"),
    )


@pytest.mark.parametrize(
    ("node_ip", "expected"),
    [
        ("kubelet\n--node-ip=10.0.0.4\n", ("eth0",)),
        ("kubelet\n--node-ip\x0010.0.0.4\n", ("eth0",)),
        ("kubelet\n--node-ip=10.8.0.2,2001:db8::4\n", ("eth0", "tun0")),
        ("kubelet\n--node-ip=2001:DB8:0::4\n", ("eth0",)),
        ("kubelet\n--node-ip=0.0.0.0\n", None),
        ("kubelet\n--node-ip=192.0.2.77\n", None),
        ("kubelet\n", None),
    ],
)
def test_the_interface_that_owns_the_nodes_address(node_ip: str, expected: tuple[str, ...] | None) -> None:
    fact = facts(addresses=Part(ADDRESSES), node_ip=Part(node_ip)).kind.node_address_links
    if expected is None:
        assert isinstance(fact, Absent)
    else:
        assert value(fact) == expected


@pytest.mark.parametrize(
    ("node_ip", "addresses", "expected"),
    [
        (Part(""), Part(ADDRESSES), Reason.NOT_COLLECTED),
        (Part("kubelet\n--node-ip=1.2.3\n"), Part(ADDRESSES), Reason.UNPARSABLE),
        (Part("kubelet\n--node-ip=10.0.0.4\n"), Part(state="no-tool ip"), Reason.TOOL_MISSING),
        (Part("kubelet\n--node-ip=10.0.0.4\n"), Part("2: eth0    inet six scope global\n"), Reason.UNPARSABLE),
        (Part("kubelet\n--node-ip=10.0.0.4\n"), Part("2: eth0    inet broken\n"), Reason.UNPARSABLE),
    ],
)
def test_an_owner_that_could_not_be_told_is_unknown(node_ip: Part, addresses: Part, expected: Reason) -> None:
    fact = facts(addresses=addresses, node_ip=node_ip).kind.node_address_links
    assert isinstance(fact, Unknown)
    assert fact.reason is expected


ETHTOOL = """Features for eth0:
rx-vlan-offload: on
tx-udp_tnl-segmentation: off [fixed]
tx-udp_tnl-csum-segmentation: on
\ttx-checksum-ip-generic: on
Features for eth1:
rx-vlan-offload: off
"""


def test_offloads_are_those_that_are_on() -> None:
    assert value(facts(offloads=Part(ETHTOOL)).kind.offloads) == (
        ("eth0", ("rx-vlan-offload", "tx-checksum-ip-generic", "tx-udp_tnl-csum-segmentation")),
        ("eth1", ()),
    )


def test_a_dummy_is_known_by_its_flags() -> None:
    sections = sys_net(
        mtu={"eth0": "1500", "kube0": "1500"},
        flag={"eth0": "0x1003", "kube0": "0xc3"},
        type={"eth0": "1", "kube0": "1"},
    )
    links = value(facts(sections).kind.links)
    assert [(link.name, link.kind) for link in links] == [("eth0", "ethernet"), ("kube0", "dummy")]  # type: ignore[attr-defined]


def test_wireguards_ports_are_kept_though_they_are_ephemeral() -> None:
    assert value(facts(udp=Part("CA6C\nCA6E\n")).kind.udp_ports) == (51820,)


def test_name_servers_in_their_order() -> None:
    text = "nameserver 10.96.0.10\nnameserver\nnameserver 1.1.1.1 # two\n"
    assert value(facts(nameservers=Part(text)).kind.nameservers) == ("10.96.0.10", "1.1.1.1")


def test_modules_by_whatever_shows_them() -> None:
    kind = facts(
        modules=Part("xt_set\nsomething\n"), modules_builtin=Part("vxlan\n"), modules_dep=Part("ipt-REJECT\nip_set\n")
    ).kind
    assert value(kind.modules) == ("ip_set", "ipt_REJECT", "vxlan", "xt_set")


def test_modules_that_are_not_loaded_show_on_disk_alone() -> None:
    kind = facts(modules_builtin=Part(state="absent"), modules_dep=Part(state="absent")).kind
    assert isinstance(kind.modules, Unknown)
    kind = facts(modules=Part(state="absent")).kind
    assert isinstance(kind.modules, Known)


def test_a_team_is_known_by_what_it_is_made_of() -> None:
    names = ("team0", "eth0", "eth1")
    sections = {
        **sys_net(
            mtu=dict.fromkeys(names, "1500"), flag=dict.fromkeys(names, "0x1003"), type=dict.fromkeys(names, "1")
        ),
        "link-parts": Part("/sys/class/net/team0/lower_eth1\n/sys/class/net/eth0/lower_enP1\n"),
        "link-drivers": Part("/sys/class/net/eth0/device/driver ../../drivers/hv_netvsc\n"),
    }
    links = value(facts(sections).kind.links)
    assert {link.name: link.kind for link in links} == {  # type: ignore[attr-defined]
        "team0": "team",
        "eth0": "ethernet",
        "eth1": "ethernet",
    }


def test_a_carrier_makes_an_interface_run() -> None:
    names = ("eth0", "eth1", "eth2", "eth3")
    states = {"eth0": "up", "eth1": "down", "eth2": "unknown", "eth3": "lowerlayerdown"}
    sections = {
        **sys_net(
            mtu=dict.fromkeys(names, "1500"), flag=dict.fromkeys(names, "0x1003"), type=dict.fromkeys(names, "1")
        ),
        "link-states": Part("".join(f"/sys/class/net/{name}/operstate:{state}\n" for name, state in states.items())),
    }
    links = value(facts(sections).kind.links)
    assert [link.name for link in links if link.is_running] == ["eth0", "eth2"]  # type: ignore[attr-defined]


def test_pods_below_a_bridge_are_not_of_the_kind() -> None:
    sections = {
        **sys_net(mtu={"cni0": "1450"}, flag={"cni0": "0x1003"}, type={"cni0": "1"}),
        "link-parts": Part(
            "/sys/class/net/cni0/bridge\n/sys/class/net/cni0/lower_veth0a1b2c3d\n/sys/class/net/cni0/lower_eth1\n"
        ),
    }
    links = facts(sections).kind.links
    assert isinstance(links, Known)
    (bridge,) = links.value
    assert (bridge.kind, bridge.lower) == ("bridge", ("eth1",))
