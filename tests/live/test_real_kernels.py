"""Debian's kernels, booted in a virtual machine: the survey runs inside, and what it says is judged outside.

The verdicts were written down from what Calico's releases ask for before any of these kernels was booted.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.facts import Absent, Fact, Install, Known, NodeKind, SourceKind
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import SourceIndex
from tests import accuracy
from tests.accuracy.record import true_version
from tests.builders import judged
from tests.live.machine import boot, kernel, only
from tests.live.tools import need

pytestmark = pytest.mark.live

NAMES = ("5.10", "6.1", "6.12", "newest")

BPFFS = "mount -t bpf bpf /sys/fs/bpf\n"
CGROUP2 = "mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
CGROUP_V1 = """\
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/pids /sys/fs/cgroup/freezer
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids
mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer
"""
# What the kernel is told, and what is mounted.
BOOTS = {
    "plain": ("", BPFFS + CGROUP2),
    "without-bpffs": ("", CGROUP2),
    "confidentiality": ("lockdown=confidentiality", BPFFS + CGROUP2),
    "cgroup-v1": ("", BPFFS + CGROUP_V1),
}

# Expected statuses by check, for each of these Calico releases; a note is a pass worth reading. Up to v3.18 it matters
# who installed Calico where bpffs is not mounted.
TARGETS: tuple[tuple[str, Install], ...] = (
    ("v3.16", "operator"),
    ("v3.16", "manifest"),
    ("v3.28.5", "unknown"),
    ("v3.32.1", "unknown"),
)
PLAIN = {
    # Felix wants 5.3, the documentation 5.3, from v3.31 on 5.10.
    "node.kernel.version": ("pass", "pass", "pass", "pass"),
    # Debian builds with BTF, which Felix uses from v3.23 on.
    "node.kernel.btf": ("not_applicable", "not_applicable", "pass", "pass"),
    "node.kernel.config": ("pass", "pass", "pass", "pass"),
    "node.kernel.lockdown": ("pass", "pass", "pass", "pass"),
    "node.arch": ("pass", "pass", "pass", "pass"),
    # Debian builds with the JIT compiler on (CONFIG_BPF_JIT_DEFAULT_ON).
    "node.sysctl.bpf-jit": ("pass", "pass", "pass", "pass"),
    "node.bpffs.mounted": ("pass", "pass", "pass", "pass"),
    # No systemd and no fstab here; v3.28 and later mount it whenever they start.
    "node.bpffs.persistent": ("warn", "warn", "note", "note"),
    # With cgroup v2 alone, early releases mount it from inside a cgroup namespace of their own.
    "node.cgroup2": ("warn", "warn", "pass", "pass"),
}
# The bug that v3.28 never got the fix of: by measurement it does no harm on 5.10, and strikes on the others.
KNOWN_BAD_IN_3_28 = {"5.10": "pass", "6.1": "fail", "6.12": "fail"}
# Newest kernels on which it was measured; it is open in any other series.
MEASURED_NEWEST = ("7.2.", "7.3.")
# What v3.31 and later go without on 5.10.
KNOWN_BAD_IN_3_32 = {"5.10": "warn", "6.1": "pass", "6.12": "pass", "newest": "pass"}
OTHERWISE = {
    "plain": {},
    "without-bpffs": {"node.bpffs.mounted": ("fail", "warn", "note", "note")},
    "confidentiality": {"node.kernel.lockdown": ("note", "note", "note", "note")},
    # Container engines give no cgroup namespaces by themselves there.
    "cgroup-v1": {"node.cgroup2": ("pass", "pass", "pass", "pass")},
}


def expected(name: str, release: str, boot: str, target: int) -> dict[str, str]:
    """The statuses that were written down for a kernel, a boot and a Calico release."""
    newest = "fail" if release.startswith(MEASURED_NEWEST) else "unknown"
    known_bad = ("pass", "pass", KNOWN_BAD_IN_3_28.get(name, newest), KNOWN_BAD_IN_3_32[name])
    table = {**PLAIN, **OTHERWISE[boot], "node.kernel.known-bad": known_bad}
    return {check: statuses[target] for check, statuses in table.items()}


@dataclass(frozen=True)
class Booted:
    """What came out of a boot, and what Debian's packages say of the kernel."""

    name: str
    boot: str
    release: str
    config: frozenset[str]
    survey: bytes
    stderr: bytes

    def kind(self) -> NodeKind:
        """The facts, which must be whole."""
        facts, problems = node_facts(Survey(data=self.survey, nonce="nonce"), SourceKind.LOCAL, SourceIndex())
        assert not problems
        return facts.kind


@pytest.fixture(scope="module", params=product(NAMES, BOOTS), ids="-".join)
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """Boot a kernel in one of the ways."""
    name, way = request.param
    directory = kernel(name)
    words, mounts = BOOTS[way]
    out, errors = boot(directory, mounts, tmp_path_factory.mktemp("boot"), words=words)
    release = (directory / "release").read_text().strip()
    config = frozenset(only(directory, "config*").read_text().splitlines())
    return Booted(name=name, boot=way, release=release, config=config, survey=out, stderr=errors)


def value(fact: Fact[Any]) -> object:
    assert isinstance(fact, Known), fact
    return fact.value


def test_the_facts_are_those_of_the_kernel_that_was_booted(booted: Booted) -> None:
    kind = booted.kind()
    assert booted.stderr == b""
    assert value(kind.kernel_release) == booted.release
    assert str(value(kind.proc_version)).startswith(f"Linux version {booted.release} (debian-kernel@")
    assert value(kind.arch) == "x86_64"
    assert value(kind.init) == "init"
    assert isinstance(kind.container, Absent)
    assert isinstance(kind.kernel_config, Known)
    for option, setting in kind.kernel_config.value:
        assert (f"# {option} is not set" if setting == "n" else f"{option}={setting}") in booted.config
    assert (value(kind.vmlinux_btf), "CONFIG_DEBUG_INFO_BTF=y" in booted.config) == (True, True)
    assert (value(kind.bpf_jit_enable), "CONFIG_BPF_JIT_DEFAULT_ON=y" in booted.config) == (1, True)
    assert value(kind.filesystems) == ("bpf", "cgroup", "cgroup2")


def test_the_facts_are_those_of_the_boot(booted: Booted) -> None:
    kind = booted.kind()
    assert isinstance(kind.bpffs, Absent if booted.boot == "without-bpffs" else Known)
    is_v1 = booted.boot == "cgroup-v1"
    assert value(kind.cgroup_layout) == ("legacy" if is_v1 else "unified")
    assert value(kind.cgroup2_mounts) == (() if is_v1 else ("/sys/fs/cgroup",))
    # Neither kind of iptables is loaded, and the survey does not load it by asking.
    assert isinstance(kind.nft_tables, Absent)
    assert isinstance(kind.kube_chains, Absent)
    assert value(kind.lockdown) == ("confidentiality" if booted.boot == "confidentiality" else "none")


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=["-".join(target) for target in TARGETS])
def test_the_verdicts_are_those_written_down_beforehand(booted: Booted, target: int) -> None:
    kind = booted.kind()
    version, install = TARGETS[target]
    wanted = expected(booted.name, booted.release, booted.boot, target)
    findings = [judged(check, kind, version, install) for check in BUILTIN]
    seen = {one.id: "note" if one.note else str(one.status) for one in findings}
    ours = ("node.kernel.", "node.bpffs.")
    assert {check: status for check, status in seen.items() if check in wanted or check.startswith(ours)} == wanted
    # The machine has neither bpftool nor a tc that knows how.
    assert seen["node.tc.foreign"] == "unknown"
    # Nothing else is wrong with a machine on which nothing runs.
    assert "fail" not in {status for check, status in seen.items() if check not in wanted}


def test_what_is_said_is_what_the_page_on_accuracy_holds(booted: Booted) -> None:
    now = accuracy.Recorded(true_version(booted.kind()), booted.kind())
    recorded = accuracy.like(now.version)
    if recorded is None:
        pytest.skip(f"nothing is recorded of kernels like this kernel, {now.version}: `make matrix` does")
    for calico in accuracy.releases():
        for column, ask in accuracy.UNTRIED_COLUMNS.items():
            assert ask(calico, now) == ask(calico, recorded), (calico, column, now.version, recorded.version)
        truth = accuracy.truth_of(calico, now.version)
        assert accuracy.worth(accuracy.by_survey(calico, now), truth) != "wrong", (calico, now.version)


# What the network tests make in namespaces of this machine, whose kernel need not know it all, made here. Two of the
# modules make bond0 and dummy0 by themselves.
MODULES = ("8021q", "bonding", "bridge", "dummy", "tun", "veth", "vxlan", "wireguard")
LINKS = """\
{made}
ip addr add 192.0.2.2/24 dev {carrier}
ip link set {carrier} up
ip route add default via 192.0.2.1 dev {carrier}
"""
TWO = "ip link add eth0 type veth peer name p0\nip link add eth1 type veth peer name p1\nip link set eth0 up\n"
STACKS = {
    "bond": ("ip link set eth0 down\nip link set eth0 master bond0\n"
             "ip link set eth1 master bond0", "bond0"),
    "vlan": ("ip link add link eth0 name eth0.10 type vlan id 10", "eth0.10"),
    "vlan-on-bond": ("ip link set eth1 master bond0\nip link set bond0 up\n"
                     "ip link add link bond0 name v10 type vlan id 10", "v10"),
    "wireguard": ("ip link add wg0 type wireguard\nwg set wg0 listen-port 51820\nip link set wg0 up", "eth0"),
    "wireguard-route": ("ip link add wg0 type wireguard", "wg0"),
    "dummy": ("ip addr add 198.51.100.1/32 dev dummy0\nip link set dummy0 up", "eth0"),
    "vxlan": ("ip link add vx0 type vxlan id 7 dstport 4789\nip link set vx0 up", "eth0"),
}  # fmt: skip
SPEAKING = {
    ("bond", "v3.28.0"): {"node.net.data-iface", "node.net.iface-topology"},
    ("bond", "v3.28.1"): {"node.net.iface-topology"},
    ("bond", "v3.32.1"): set(),
    ("vlan", "v3.28.1"): {"node.net.iface-topology"},
    # No NIC lies below it that could take the tags off.
    ("vlan", "v3.32.1"): {"node.net.iface-topology"},
    # The name on top matches no default, that of the bond does.
    ("vlan-on-bond", "v3.28.1"): {"node.net.data-iface", "node.net.iface-topology"},
    ("vlan-on-bond", "v3.32.1"): {"node.net.data-iface", "node.net.iface-topology"},
    ("wireguard", "v3.28.1"): set(),
    ("wireguard", "v3.32.1"): {"node.net.l3-overlay"},
    # WireGuard leaves 1420 bytes, and Felix goes by what it sees of eth0.
    ("wireguard-route", "v3.24.0"): {"node.net.data-iface", "node.net.l3-overlay", "node.net.mtu"},
    ("wireguard-route", "v3.32.1"): {"node.net.data-iface", "node.net.l3-overlay", "node.net.mtu"},
    ("dummy", "v3.32.1"): set(),
    ("vxlan", "v3.28.1"): set(),
    ("vxlan", "v3.32.1"): {"node.vxlan.port-conflict"},
}
KINDS = {
    "bond": {"bond0": "bond"},
    "vlan": {"eth0.10": "vlan"},
    "vlan-on-bond": {"bond0": "bond", "v10": "vlan"},
    "wireguard": {"wg0": "wireguard"},
    "wireguard-route": {"wg0": "wireguard"},
    "dummy": {"dummy0": "dummy"},
    "vxlan": {"vx0": "vxlan"},
}


@pytest.mark.parametrize("stack", STACKS)
def test_links_that_this_machines_kernel_need_not_have(stack: str, tmp_path: Path) -> None:
    for program, package in (("ip", "iproute2"), ("wg", "wireguard-tools"), ("dash", "dash")):
        need(program, package)
    made, carrier = STACKS[stack]
    out, errors = boot(
        kernel("6.12"),
        # busybox has an ip of its own, which it prefers.
        'rm /bin/ip\nip() { /usr/sbin/ip "$@"; }\n' + TWO + LINKS.format(made=made, carrier=carrier),
        tmp_path,
        programs=("ip", "wg", "dash"),
        modules=MODULES,
        shell="dash",
    )
    assert errors == b""
    facts, problems = node_facts(Survey(data=out, nonce="nonce"), SourceKind.LOCAL, SourceIndex())
    assert not problems
    links = {link.name: link for link in value(facts.kind.links)}  # type: ignore[attr-defined]
    assert {name: links[name].kind for name in KINDS[stack]} == KINDS[stack]
    assert [name for name, link in links.items() if link.has_default_route] == [carrier]
    versions = {version: spoken for (of, version), spoken in SPEAKING.items() if of == stack}
    for version, spoken in versions.items():
        ours = ("node.net.", "node.vxlan.", "node.offload.")
        asked = [check for check in BUILTIN if check.id.startswith(ours) and not check.of_trial]
        findings = [judged(check, facts.kind, version) for check in asked]
        seen = {one.id for one in findings if one.status not in (Status.PASS, Status.NOT_APPLICABLE)}
        assert seen == spoken, version
