"""Real links, routes and sockets, in a network namespace of the test's own, with a process 1 of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ebpfcheck.checks import BUILTIN, ports
from ebpfcheck.collect.local import SURVEY_SCRIPT, LocalTransport
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.facts import Known, NodeKind
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests.builders import judged
from tests.live.tools import need

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace"),
]

VETH = "ip link add {0} type veth peer name p-{0}"
ROUTE = "ip addr add 192.0.2.2/24 dev {0}\nip link set {0} up\nip route add default via 192.0.2.1 dev {0}"


def look_after(commands: str, tmp_path: Path) -> NodeKind:
    """Run commands, then the survey, in new network, mount and process id namespaces."""
    need("unshare", "util-linux")
    need("ip", "iproute2")
    shell = shutil.which("sh")
    assert shell is not None
    init = tmp_path / "init"
    shutil.copy(shell, init)
    script = f"mount -t sysfs sysfs /sys\nip link set lo up\n{commands}\nsh -s nonce < {SURVEY_SCRIPT}\nexit 0\n"
    result = subprocess.run(
        ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", str(init), "-e", "-c", script),
        capture_output=True,
        timeout=60,
        check=False,
    )
    if result.returncode != 0:
        pytest.skip(f"this kernel does not make what is needed: {result.stderr.decode()}")
    facts, problems = node_facts(Survey(data=result.stdout, nonce="nonce"), LocalTransport.kind, SourceIndex())
    assert not problems
    return facts.kind


def speaking(kind: NodeKind, version: str = "v3.32.1") -> set[str]:
    """The ids of the network checks that neither pass nor do not apply."""
    ids = {
        check.id
        for check in BUILTIN
        if check.category == "network"
        and judged(check, kind, version).status not in (Status.PASS, Status.NOT_APPLICABLE)
    }
    # Namespaces start with forwarding off, and this machine need not have nft: not what these tests are about.
    return ids - {"node.base.ip-forward", "node.kube-proxy.residue"}


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
    assert speaking(kind, "v3.29") == {"node.net.iface-topology"}
    assert speaking(kind, "v3.31") == set()


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


def test_links_are_those_that_ip_sees() -> None:
    import json

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
