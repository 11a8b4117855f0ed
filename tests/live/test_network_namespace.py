"""Real links, routes, sockets, rules and programs, in a network namespace of the test's own."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebpfcheck.checks import network, ports, residue
from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.collect.local import LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import SURVEY_SCRIPT, Survey
from ebpfcheck.model.facts import Known, NodeKind, Unknown
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import ROOT, judged
from tests.live.tools import need

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace"),
]

VETH = "ip link add {0} type veth peer name p-{0}"
ROUTE = "ip addr add 192.0.2.2/24 dev {0}\nip link set {0} up\nip route add default via 192.0.2.1 dev {0}"


def look_after(commands: str, tmp_path: Path) -> NodeKind:
    """Run commands, then the survey, in new network, mount and process id namespaces."""
    for program, package in (
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("iptables-legacy", "iptables"),
        ("bpftool", "bpftool"),
        ("ethtool", "ethtool"),
    ):
        need(program, package)
    shell = shutil.which("sh")
    assert shell is not None
    init = tmp_path / "init"
    shutil.copy(shell, init)
    for program in ("kubelet", "kube-proxy", "calico-node"):
        shutil.copy(shell, tmp_path / program)
    script = (
        f"mount -t sysfs sysfs /sys\nip link set lo up\necho 1 > /proc/sys/net/ipv4/ip_forward\ncd {tmp_path}\n"
        f"{commands}\nsh -s nonce < {SURVEY_SCRIPT}\nexit 0\n"
    )
    result = subprocess.run(
        ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", str(init), "-e", "-c", script),
        capture_output=True,
        timeout=60,
        check=False,
    )
    if b"Unknown device type" in result.stderr:
        pytest.skip("this kernel does not make links of that type")
    assert result.returncode == 0, result.stderr.decode()
    facts, problems = node_facts(Survey(data=result.stdout, nonce="nonce"), LocalTransport.kind, SourceIndex())
    assert not problems
    return facts.kind


def speaking(kind: NodeKind, version: str = "v3.32.1") -> set[str]:
    """The ids of the network checks that neither pass nor do not apply.

    Where this machine's bpftool is older than its kernel's TCX, two of them have to say so, and are left out.
    """
    found = {
        check.id: judged(check, kind, version)
        for check in BUILTIN
        if check.category == "network"
        and not check.of_trial
        and judged(check, kind, version).status not in (Status.PASS, Status.NOT_APPLICABLE)
    }
    if is_blind(kind):
        for name in ("node.tc.foreign", "node.bpf.residue"):
            if name in found and found[name].status is Status.UNKNOWN:
                del found[name]
    return set(found)


def is_blind(kind: NodeKind) -> bool:
    """Whether this machine's bpftool does not list what is attached by TCX."""
    assert isinstance(kind.bpf_programs, Known)
    return kind.bpf_programs.value.misses_tcx


def test_a_program_at_tcx_is_told_of_or_not_to_be_told(tmp_path: Path) -> None:
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 6):
        pytest.skip("this kernel has no TCX")
    attach = (
        f"(sleep 60 | PYTHONPATH={ROOT} {sys.executable} -m tests.live.tcx eth0 >attached 2>&1) &\n"
        "until grep -q . attached 2>/dev/null; do sleep 0.05; done\ngrep -q '^attached$' attached || cat attached >&2"
    )
    kind = look_after(f"{VETH.format('eth0')}\nip link set eth0 up\n{attach}\ngrep -q '^attached$' attached", tmp_path)
    finding = judged(residue.tc_foreign, kind)
    assert finding.status is (Status.UNKNOWN if is_blind(kind) else Status.WARN)
    version = subprocess.run(("bpftool", "version"), capture_output=True, text=True, check=True).stdout
    old = re.match(r"bpftool v(\d+)\.(\d+)", version)
    assert old is not None
    assert is_blind(kind) == ((int(old[1]), int(old[2])) < (7, 3))


def test_a_plain_nic_disturbs_nobody(tmp_path: Path) -> None:
    kind = look_after(f"ip link add eth0 type veth peer name p-eth0\n{ROUTE.format('eth0')}", tmp_path)
    assert speaking(kind) == set()
    assert isinstance(kind.links, Known)
    assert [link.name for link in kind.links.value if link.has_default_route] == ["eth0"]


@pytest.mark.parametrize(
    ("name", "version", "speaks"),
    [
        ("em1", "v3.32.1", True),
        ("enP1p1s0f1", "v3.24", True),
        ("enP1p1s0f1", "v3.25", False),
        ("bond0", "v3.28.0", True),
        ("bond0", "v3.28.1", False),
    ],
)
def test_names_that_the_default_pattern_misses(tmp_path: Path, name: str, version: str, speaks: bool) -> None:
    kind = look_after(f"ip link add {name} type veth peer name peer\n{ROUTE.format(name)}", tmp_path)
    assert speaking(kind, version) == ({"node.net.data-iface"} if speaks else set())


def test_a_bond_and_its_slaves(tmp_path: Path) -> None:
    kind = look_after(
        f"ip link add bond0 type bond\n{VETH.format('eth0')}\n{VETH.format('eth1')}\n"
        f"ip link set eth0 master bond0\nip link set eth1 master bond0\n{ROUTE.format('bond0')}",
        tmp_path,
    )
    assert isinstance(kind.links, Known)
    bond = next(link for link in kind.links.value if link.name == "bond0")
    assert (bond.kind, bond.lower) == ("bond", ("eth0", "eth1"))
    assert speaking(kind, "v3.29") == {"node.net.iface-topology"}
    assert speaking(kind, "v3.30") == set()


def test_a_bridge_and_its_port(tmp_path: Path) -> None:
    kind = look_after(
        f"ip link add br0 type bridge\n{VETH.format('eth0')}\nip link set eth0 master br0\n{ROUTE.format('br0')}",
        tmp_path,
    )
    assert speaking(kind) == {"node.net.data-iface", "node.net.iface-topology"}


def test_a_vlan_and_its_parent(tmp_path: Path) -> None:
    kind = look_after(
        f"{VETH.format('eth0')}\nip link set eth0 up\nip link add link eth0 name eth0.10 type vlan id 10\n"
        f"{ROUTE.format('eth0.10')}",
        tmp_path,
    )
    assert judged(network.iface_topology, kind, "v3.29").status is Status.WARN
    # No NIC lies below it here that could take the tags off.
    assert judged(network.iface_topology, kind, "v3.31").status is Status.UNKNOWN
    assert speaking(kind, "v3.29") == speaking(kind, "v3.31") == {"node.net.iface-topology"}


PLAIN = f"ip link add eth0 type veth peer name p-eth0\n{ROUTE.format('eth0')}\n"


@pytest.mark.parametrize(
    ("commands", "status"),
    [
        ("ip link add vx0 type vxlan id 7 dstport 4789\nip link set vx0 up", Status.FAIL),
        ("ip link add vx0 type vxlan id 7 dstport 4789", Status.WARN),
        ("ip link add vx0 type vxlan id 7 dstport 8472\nip link set vx0 up", Status.PASS),
        ("ip link add vxlan.calico type vxlan external dstport 4789\nip link set vxlan.calico up", Status.PASS),
        (
            "mount -t tmpfs tmpfs /run\nip netns add hidden\n"
            "ip -n hidden link add vx0 type vxlan id 7 dstport 4789\nip -n hidden link set vx0 up",
            Status.WARN,
        ),
        (
            "mount -t tmpfs tmpfs /run\nip netns add cni-1234\n"
            "ip -n cni-1234 link add vx0 type vxlan id 7 dstport 4789",
            Status.PASS,
        ),
    ],
)
def test_vxlan_devices(tmp_path: Path, commands: str, status: Status) -> None:
    kind = look_after(PLAIN + commands, tmp_path)
    if not isinstance(kind.vmlinux_btf, Known):
        pytest.skip("this kernel carries no BTF")
    assert judged(ports.vxlan_port_conflict, kind, "v3.31").status is status
    assert speaking(kind) == (set() if status is Status.PASS else {"node.vxlan.port-conflict"})


def test_the_device_that_ipvs_leaves(tmp_path: Path) -> None:
    kind = look_after(PLAIN + "ip link add kube-ipvs0 type veth peer name p-kube-ipvs0", tmp_path)
    assert speaking(kind) == {"node.ipvs.residue"}


def test_a_listener_on_the_health_port(tmp_path: Path) -> None:
    server = (
        "python3 -c 'import socket,time; s=socket.create_server((\"0.0.0.0\",10256)); time.sleep(20)' &\n"
        "for i in 1 2 3 4 5 6 7 8 9; do grep -q 00000000:2810 /proc/net/tcp && break; sleep 0.2; done"
    )
    kind = look_after(PLAIN + server, tmp_path)
    assert isinstance(kind.tcp_listeners, Known)
    assert 10256 in kind.tcp_listeners.value
    assert speaking(kind) == {"node.port.healthz"}


NODE = "./kubelet -c 'sleep 20; :' kubelet --node-ip={0} &\nsleep 0.2\n"


def test_the_interface_with_kubelets_address_counts_beside_the_default_route(tmp_path: Path) -> None:
    second = "ip link add em1 type veth peer name p-em1\nip addr add 198.51.100.7/24 dev em1\nip link set em1 up\n"
    kind = look_after(PLAIN + second + NODE.format("198.51.100.7"), tmp_path)
    assert isinstance(kind.node_address_links, Known)
    assert kind.node_address_links.value == ("em1",)
    assert speaking(kind) == {"node.net.data-iface"}
    kind = look_after(PLAIN + second + NODE.format("192.0.2.2"), tmp_path)
    assert speaking(kind) == set()


def test_wireguard_of_the_users_own(tmp_path: Path) -> None:
    # A port has to be named for WireGuard to listen; that takes its own tool.
    need("wg", "wireguard-tools")
    kind = look_after(
        PLAIN + "ip link add wg0 type wireguard\nwg set wg0 listen-port 51820\nip link set wg0 up", tmp_path
    )
    assert speaking(kind, "v3.32.1") == {"node.net.l3-overlay"}
    assert speaking(kind, "v3.31.5") == set()


def test_a_default_route_over_tun(tmp_path: Path) -> None:
    kind = look_after(
        f"ip tuntap add dev tun0 mode tun\n{ROUTE.format('tun0')}",
        tmp_path,
    )
    assert isinstance(kind.links, Known)
    assert [(link.name, link.kind) for link in kind.links.value] == [("tun0", "tun")]
    assert speaking(kind) == {"node.net.data-iface", "node.net.l3-overlay"}
    assert speaking(kind, "v3.24") == {"node.net.data-iface", "node.net.l3-overlay"}


CHAINS = "{0} -t nat -N KUBE-SERVICES\n{0} -t nat -N KUBE-SVC-ABCDEFGHIJKLMNOP\n{0} -t nat -N KUBE-KUBELET-CANARY\n" + (
    "{0} -t nat -N KUBE-EXT-UDASUQSFSNYWVSHT\n"
)


@pytest.mark.parametrize("iptables", ["iptables-legacy", "iptables-nft"])
def test_chains_that_kube_proxy_left(tmp_path: Path, iptables: str) -> None:
    kind = look_after(PLAIN + CHAINS.format(iptables), tmp_path)
    assert isinstance(kind.kube_chains, Known)
    assert kind.kube_chains.value.names == ("KUBE-KUBELET-CANARY", "KUBE-SERVICES")
    assert kind.kube_chains.value.of_services == 1
    assert speaking(kind) == set(), "Felix removes them"
    assert judged(residue.kube_proxy_residue, kind).note
    kind = look_after(PLAIN + CHAINS.format(iptables) + "./kube-proxy -c 'sleep 20; :' &\nsleep 0.2\n", tmp_path)
    assert speaking(kind) == set()
    assert not judged(residue.kube_proxy_residue, kind).note


def test_chains_that_a_tool_refused_to_list_are_unknown(tmp_path: Path) -> None:
    tool = "fake/iptables-legacy-save"
    refusing = f"mkdir fake\nprintf '#!/bin/sh\\nexit 1\\n' > {tool}\nchmod +x {tool}\nPATH=$PWD/fake:$PATH\n"
    kind = look_after(PLAIN + CHAINS.format("iptables-legacy") + refusing, tmp_path)
    assert isinstance(kind.kube_chains, Unknown)
    assert speaking(kind) == {"node.kube-proxy.residue"}


def test_nftables_tables_that_kube_proxy_left(tmp_path: Path) -> None:
    kind = look_after(PLAIN + "nft add table ip kube-proxy", tmp_path)
    assert speaking(kind, "v3.30.5") == {"node.kube-proxy.residue"}
    assert speaking(kind, "v3.31.4") == set()


# Loads a program for tc that does nothing, under a name, and pins it: what it takes clang and a loader for otherwise.
LOAD = """python3 - {name} <<'PYTHON'
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\\0"), 144)
    result = libc.syscall({number}, command, buffer, 144)
    if result < 0:
        sys.exit(f"bpf({{command}}): errno {{ctypes.get_errno()}}")
    return result
code = ctypes.create_string_buffer(bytes.fromhex("b7000000ffffffff" "9500000000000000"))
licence = ctypes.create_string_buffer(b"GPL")
name = sys.argv[1].encode()[:15]
program = bpf(5, struct.pack("<IIQQIIQII16sI", 3, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0,
                             name, 0))
path = ctypes.create_string_buffer(b"/sys/fs/bpf/" + sys.argv[1].encode())
bpf(6, struct.pack("<QI", ctypes.addressof(path), program))
PYTHON
tc qdisc add dev eth0 clsact
tc filter add dev eth0 ingress bpf da object-pinned /sys/fs/bpf/{name}
rm /sys/fs/bpf/{name}
"""
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}


@pytest.mark.parametrize(
    ("name", "spoken"), [("cil_from_netdev", {"node.tc.foreign"}), ("cali_tc_preamble", {"node.bpf.residue"})]
)
def test_bpf_programs_on_an_interface(tmp_path: Path, name: str, spoken: set[str]) -> None:
    number = BPF_SYSCALL[platform.machine()]
    commands = PLAIN + "mount -t bpf bpf /sys/fs/bpf\n" + LOAD.format(name=name, number=number)
    kind = look_after(commands, tmp_path)
    assert isinstance(kind.bpf_programs, Known)
    assert [(one.device, one.hook, one.name) for one in kind.bpf_programs.value.programs] == [
        ("eth0", "tc/ingress", name)
    ]
    assert kind.bpf_programs.value.by == "bpftool"
    assert speaking(kind) == spoken
    # Without bpftool tc tells the same.
    away = "mkdir bin\nfor t in /usr/sbin/bpftool /usr/bin/bpftool; do [ ! -e $t ] || mount --bind /dev/null $t; done\n"
    seen_by_tc = look_after(commands + away, tmp_path).bpf_programs
    assert isinstance(seen_by_tc, Known)
    assert (seen_by_tc.value.programs, seen_by_tc.value.by) == (kind.bpf_programs.value.programs, "tc")


def test_ebpf_mode_beside_kube_proxy(tmp_path: Path) -> None:
    number = BPF_SYSCALL[platform.machine()]
    commands = PLAIN + "mount -t bpf bpf /sys/fs/bpf\n" + LOAD.format(name="cali_tc_preamble", number=number)
    kind = look_after(commands + "./calico-node -c 'sleep 20; :' &\nsleep 0.2\n", tmp_path)
    assert speaking(kind) == set()
    both = "for name in calico-node kube-proxy; do ./$name -c 'sleep 20; :' & done\nsleep 0.2\n"
    assert speaking(look_after(commands + both, tmp_path)) == {"node.kube-proxy.residue"}


def test_a_vxlan_device_in_a_namespace_of_dockers(tmp_path: Path) -> None:
    kind = look_after(
        PLAIN
        + "mount -t tmpfs tmpfs /run\nmkdir -p /run/docker/netns\nip netns add x\n"
        + "touch /run/docker/netns/1-abcdef\nmount --bind /run/netns/x /run/docker/netns/1-abcdef\n"
        + "ip -n x link add vx0 type vxlan id 7 dstport 4789\numount /run/netns/x\nrm /run/netns/x",
        tmp_path,
    )
    assert isinstance(kind.vxlans, Known)
    assert [(one.name, one.namespace) for one in kind.vxlans.value] == [("vx0", "docker/1-abcdef")]
    assert speaking(kind) == {"node.vxlan.port-conflict"}


def test_links_agree_with_ip_in_detail(tmp_path: Path) -> None:
    made = (
        "ip link add br0 type bridge\nip link add vx0 type vxlan id 7 dstport 4790\nip tuntap add dev tun0 mode tun\n"
        "ip tuntap add dev vnet0 mode tap\nip link add 'a$b\\c' type veth peer name \"q'\"\n"
        "ip link set 'a$b\\c' mtu 1234 up\n"
    )
    kind = look_after(
        PLAIN + made + f"ip -j -d link > {tmp_path}/link.json\nip -j addr > {tmp_path}/addr.json", tmp_path
    )
    assert isinstance(kind.links, Known)
    theirs = {link["ifname"]: link for link in json.loads((tmp_path / "link.json").read_text())}
    ours = {link.name: link for link in kind.links.value}
    assert ours.keys() == theirs.keys() - {"lo"}
    for name, link in ours.items():
        assert (link.mtu, link.is_up) == (theirs[name]["mtu"], "UP" in theirs[name]["flags"]), name
    kinds = {"br0": "bridge", "vx0": "vxlan", "tun0": "tun", "vnet0": "ethernet", "a$b\\c": "ethernet"}
    assert {name: ours[name].kind for name in kinds} == kinds
    for name, of_ip in (("br0", "bridge"), ("vx0", "vxlan"), ("tun0", "tun")):
        assert theirs[name]["linkinfo"]["info_kind"] == of_ip


def test_links_are_those_that_ip_sees() -> None:
    need("ip", "iproute2")
    with LocalTransport().start(30) as running:
        facts, _ = node_facts(running.finish(), LocalTransport.kind, SourceIndex())
    assert isinstance(facts.kind.links, Known)
    listed = json.loads(subprocess.run(("ip", "-j", "link"), capture_output=True, check=True).stdout)
    ours = {link.name: (link.mtu, link.is_up) for link in facts.kind.links.value}
    theirs = {
        link["ifname"]: (link["mtu"], "UP" in link["flags"])
        for link in listed
        if link["link_type"] != "loopback" and not link["ifname"].startswith(("cali", "veth", "lxc", "tap"))
    }
    assert ours == theirs


def test_ports_are_those_that_psutil_sees() -> None:
    import psutil

    with LocalTransport().start(30) as running:
        facts, _ = node_facts(running.finish(), LocalTransport.kind, SourceIndex())
    assert isinstance(facts.kind.tcp_listeners, Known)
    seen = {
        one.laddr.port
        for one in psutil.net_connections("tcp")
        if one.laddr and one.status == psutil.CONN_LISTEN and one.laddr.port < 32768
    }
    assert set(facts.kind.tcp_listeners.value) == seen
