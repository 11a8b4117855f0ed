"""Builds what the tests look at: survey documents as a node prints them, facts, snapshots."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.transport import Survey
from ebpfcheck.engine import fingerprint, judge
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import (
    Dataplane,
    Fact,
    Install,
    Known,
    NodeFacts,
    NodeIdentity,
    NodeKind,
    Reason,
    Source,
    SourceKind,
)
from ebpfcheck.model.report import Finding, Severity, Status
from ebpfcheck.model.snapshot import Node, Snapshot, SourceIndex, fold_nodes
from ebpfcheck.versions import CalicoVersion

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
NONCE = "0123456789abcdef"

MOUNTINFO = """\
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
23 27 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:2 - sysfs sysfs rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
28 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
29 23 0:27 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:6 - bpf bpf rw,mode=700
30 27 0:24 / /run rw,nosuid,nodev,noexec,relatime shared:5 - tmpfs tmpfs rw,size=1592372k,mode=755
"""


@dataclass(frozen=True)
class Part:
    """One section of a survey document."""

    data: str | bytes = ""
    state: str = "ok"
    locator: str = ""


# A Debian 12 node with systemd on which nothing is wrong.
HEALTHY: dict[str, Part] = {
    "self": Part("Uid:\t0\t0\t0\t0\nNSpid:\t812\nCapEff:\t000001ffffffffff\n", locator="/proc/self/status"),
    "pid-namespace": Part("pid:[4026531836]\n", locator="/proc/self/ns/pid"),
    "own-first-mount": Part(MOUNTINFO.split("\n")[0] + "\n", locator="/proc/self/mountinfo"),
    "init": Part("systemd\n", locator="/proc/1/comm"),
    "init-cgroup": Part("0::/init.scope\n", locator="/proc/1/cgroup"),
    "container-marks": Part("", locator="marks of container engines"),
    "container": Part(state="absent", locator="/run/systemd/container"),
    "hostname": Part("worker-1\n", locator="/proc/sys/kernel/hostname"),
    "version": Part(
        "Linux version 6.1.0-29-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld "
        "(GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.123-1 (2025-01-02)\n",
        locator="/proc/version",
    ),
    "osrelease": Part("6.1.0-29-amd64\n", locator="/proc/sys/kernel/osrelease"),
    "arch": Part("x86_64\n", locator="/proc/sys/kernel/arch"),
    "os-release": Part(
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
        locator="/etc/os-release",
    ),
    "config": Part(
        "CONFIG_BPF=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\nCONFIG_CGROUP_BPF=y\nCONFIG_NET_CLS_ACT=y\n"
        "CONFIG_NET_CLS_BPF=m\nCONFIG_NET_SCH_INGRESS=m\nCONFIG_VXLAN=m\nCONFIG_DEBUG_INFO_BTF=y\n"
        "# CONFIG_BPF_PRELOAD is not set\nCONFIG_SECURITY_LOCKDOWN_LSM=y\nCONFIG_FRAME_WARN=2048\n",
        locator="/boot/config-6.1.0-29-amd64",
    ),
    "filesystems": Part(
        "nodev\tsysfs\nnodev\tcgroup2\nnodev\tcgroup\nnodev\tbpf\n\text4\n", locator="/proc/filesystems"
    ),
    "sysfs": Part("directory\n", locator="/sys/kernel"),
    "btf": Part("content\n", locator="/sys/kernel/btf/vmlinux"),
    "lockdown": Part("[none] integrity confidentiality\n", locator="/sys/kernel/security/lockdown"),
    "lsm": Part("lockdown,capability,landlock,yama,apparmor", locator="/sys/kernel/security/lsm"),
    "selinux": Part(state="absent", locator="/sys/fs/selinux/enforce"),
    "jit-enable": Part("1\n", locator="/proc/sys/net/core/bpf_jit_enable"),
    "jit-harden": Part("0\n", locator="/proc/sys/net/core/bpf_jit_harden"),
    "host-net": Part("", locator="/proc/sys/net/core/netdev_budget"),
    "unprivileged-bpf": Part("2\n", locator="/proc/sys/kernel/unprivileged_bpf_disabled"),
    "net-namespace": Part("net:[4026531840]\n", locator="/proc/self/ns/net"),
    "init-net-namespace": Part("net:[4026531840]\n", locator="/proc/1/ns/net"),
    "link-mtus": Part(
        "/sys/class/net/cali0123456789a/mtu:1450\n/sys/class/net/ens3/mtu:1500\n/sys/class/net/lo/mtu:65536\n",
        locator="/sys/class/net",
    ),
    "link-flags": Part(
        "/sys/class/net/cali0123456789a/flags:0x1003\n/sys/class/net/ens3/flags:0x1003\n/sys/class/net/lo/flags:0x9\n",
        locator="/sys/class/net",
    ),
    "link-states": Part(
        "/sys/class/net/cali0123456789a/operstate:up\n/sys/class/net/ens3/operstate:up\n"
        "/sys/class/net/lo/operstate:unknown\n",
        locator="/sys/class/net",
    ),
    "link-types": Part(
        "/sys/class/net/cali0123456789a/type:1\n/sys/class/net/ens3/type:1\n/sys/class/net/lo/type:772\n",
        locator="/sys/class/net",
    ),
    "link-events": Part("", locator="/sys/class/net"),
    "link-parts": Part("", locator="/sys/class/net"),
    "link-drivers": Part(
        "/sys/class/net/ens3/device/driver ../../../bus/virtio/drivers/virtio_net\n", locator="/sys/class/net"
    ),
    "addresses": Part(
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n"
        "2: ens3    inet 192.168.1.10/24 metric 100 brd 192.168.1.255 scope global dynamic ens3\\  valid_lft 30sec\n"
        "2: ens3    inet6 fe80::5054:ff:fe12:3456/64 scope link \\       valid_lft forever preferred_lft forever\n",
        locator="ip -o addr",
    ),
    "offloads": Part(
        "Features for ens3:\nrx-vlan-offload: off [fixed]\ntx-udp_tnl-segmentation: off [fixed]\n"
        "\ttx-checksum-ip-generic: on\n",
        locator="ethtool -k",
    ),
    "node-ip": Part("kubelet\n--node-ip=192.168.1.10\n", locator="kubelet --node-ip"),
    "nameservers": Part("nameserver 192.168.1.1\n", locator="/etc/resolv.conf"),
    "modules": Part("vxlan\nip_set\nnf_tables\nnf_conntrack\n", locator="/proc/modules"),
    "modules-builtin": Part("", locator="/lib/modules/6.1.0-29-amd64/modules.builtin"),
    "modules-dep": Part(
        "ip_set\nip_tables\nipip\nipt_REJECT\nipt_rpfilter\nnf_conntrack\nnf_tables\nnft_compat\nvxlan\nwireguard\n"
        "xt_LOG\nxt_addrtype\nxt_comment\nxt_conntrack\nxt_mark\nxt_multiport\nxt_set\n",
        locator="/lib/modules/6.1.0-29-amd64/modules.dep",
    ),
    "kube-chains-nft": Part(
        "KUBE-KUBELET-CANARY\nKUBE-SERVICES\nKUBE-POSTROUTING\n" + "+\n" * 37, locator="nft list chains"
    ),
    "legacy-tables": Part("", locator="/proc/net/ip_tables_names"),
    "bpftool-version": Part("bpftool v7.4.0\nusing libbpf v1.4\n", locator="bpftool version"),
    "bpf-net": Part('[{"xdp":[],"tc":[],"flow_dissector":[]}]\n', locator="bpftool -j net"),
    "nft-tables": Part("table ip filter\ntable ip nat\n", locator="nft list tables"),
    "routes": Part("ens3\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", locator="/proc/net/route"),
    "routes6": Part("", locator="/proc/net/ipv6_route"),
    "vxlans": Part("[]", locator="ip -d -j link show type vxlan"),
    "tcp": Part("0016\n9C40\n", locator="/proc/net/tcp"),
    "tcp6": Part("", locator="/proc/net/tcp6"),
    "udp": Part("0044\n", locator="/proc/net/udp"),
    "udp6": Part("", locator="/proc/net/udp6"),
    "ipvs": Part(state="absent", locator="/proc/net/ip_vs"),
    "ip-forward": Part("1\n", locator="/proc/sys/net/ipv4/ip_forward"),
    "rp-filter": Part(
        "/proc/sys/net/ipv4/conf/all/rp_filter:0\n/proc/sys/net/ipv4/conf/cali0123456789a/rp_filter:1\n"
        "/proc/sys/net/ipv4/conf/ens3/rp_filter:2\n",
        locator="/proc/sys/net/ipv4/conf",
    ),
    "sysctl-files": Part("/etc/sysctl.conf:#net.ipv4.conf.all.rp_filter=1\n", locator="sysctl.conf and sysctl.d"),
    "programs": Part("systemd\nkthreadd\nkubelet\ncontainerd\nkube-proxy\nbash\n", locator="/proc/*/comm"),
    "ufw": Part(state="absent", locator="/etc/ufw/ufw.conf"),
    "network-manager": Part("", locator="NetworkManager.conf"),
    "pins": Part("", locator="/sys/fs/bpf"),
    "mountinfo": Part(MOUNTINFO, locator="/proc/1/mountinfo"),
    "run-calico": Part(state="absent", locator="/run/calico"),
    "fstab": Part("", locator="/etc/fstab"),
    "bpffs-units": Part("", locator="systemd units sys-fs-bpf.mount"),
    "systemd": Part("/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so\n", locator="libsystemd-shared-*.so"),
    "endpoints": Part(state="absent", locator="addresses to connect to"),
}


def document(changes: dict[str, Part | None] | None = None, *, nonce: str = NONCE, done: bool = True) -> bytes:
    """Return the healthy node's survey document with some sections changed, or left out (None)."""
    out = bytearray()
    for name, part in {**HEALTHY, **(changes or {})}.items():
        if part is not None:
            locator = part.locator or HEALTHY.get(name, Part(locator=name)).locator
            data = part.data.encode() if isinstance(part.data, str) else part.data
            out += f"\nebpfcheck-{nonce} begin {name} {locator}\n".encode() + data
            out += f"\nebpfcheck-{nonce} end {part.state}\n".encode()
    return bytes(out) + (f"\nebpfcheck-{nonce} done\n".encode() if done else b"")


def facts(changes: dict[str, Part | None] | None = None, **more: Part | None) -> NodeFacts:
    """Return the facts of the healthy node with some sections changed; dashes in names as underscores."""
    named = {name.replace("_", "-"): part for name, part in more.items()}
    survey = Survey(data=document({**(changes or {}), **named}), nonce=NONCE)
    return node_facts(survey, SourceKind.LOCAL, SourceIndex())[0]


def known(value: Any) -> Fact[Any]:
    """Return a known fact."""
    return Known(value=value, source=0)


def trial_said(changes: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return what a trial said on a kernel that lacks only netkit, with some answers changed, or left out (None).

    `changes` are by TOPIC:NAME, of hooks of the root by root:NAME; `fields` are of the document.
    """
    told: dict[str, Any] = json.loads((FIXTURES / "trials" / "linux-6.18.json").read_text())
    left = dict(changes or {})

    def changed(listed: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        pairs = [(one, left.pop(name.format(**one), {})) for one in listed]
        return [{**one, **change} for one, change in pairs if change is not None]

    told["answers"] = changed(told["answers"], "{topic}:{name}")
    told["root_hooks"] = changed(told["root_hooks"], "root:{hook}")
    assert not left, left
    return {**told, **fields}


def trial_part(changes: dict[str, Any] | None = None, **fields: Any) -> Part:
    """Return the section of a survey document in which a trial says that."""
    return Part(json.dumps(trial_said(changes, **fields)) + "\n", locator="bpf(2)")


def tried(part: Part | None, **more: Part | None) -> NodeKind:
    """Return the facts of the healthy node on which a trial was asked for that said this."""
    named = {name.replace("_", "-"): one for name, one in more.items()}
    survey = Survey(data=document({"trial": part, **named}), nonce=NONCE, trial="kernel")
    return node_facts(survey, SourceKind.LOCAL, SourceIndex())[0].kind


def kind(**changes: Fact[Any]) -> NodeKind:
    """Return facts of which only those given are known."""
    return NodeKind(**changes)


def snapshot(*kinds: NodeKind, names: tuple[str, ...] = ()) -> Snapshot:
    """Return a snapshot of one node a kind."""
    names = names or tuple(f"node-{index}" for index in range(len(kinds)))
    folded, nodes = fold_nodes(
        NodeFacts(identity=NodeIdentity(name=name), kind=one) for name, one in zip(names, kinds, strict=True)
    )
    return Snapshot(
        tool_version="test",
        taken_at=datetime(2026, 1, 2, tzinfo=UTC),
        sources=tuple(Source(kind=SourceKind.LOCAL, locator=f"/test/{index}") for index in range(64)),
        kinds=folded,
        nodes=nodes,
    )


def release(version: str) -> Release:
    """Return what the knowledge holds for a release."""
    parsed = CalicoVersion.parse(version)
    assert parsed is not None
    return load_knowledge().at(parsed)


def judged(check: Check, one: NodeKind, version: str = "v3.32.1", install: Install = "unknown") -> Finding:
    """Return the one finding of a check about one node; a check that breaks is no honest unknown."""
    (finding,) = judge(snapshot(one), (check,), release(version), install)
    assert "The check itself failed" not in finding.message, finding.message
    return finding


def cluster_snapshot(cluster: ClusterFacts, *kinds: NodeKind, counts: tuple[int, ...] = ()) -> Snapshot:
    """Return a snapshot of a cluster, with `counts` nodes of each kind (one where that is left out)."""
    counts = counts or (1,) * len(kinds)
    nodes = tuple(
        Node(identity=NodeIdentity(name=f"node-{index}-{number}"), kind=index, surveyed=False)
        for index, count in enumerate(counts)
        for number in range(count)
    )
    return Snapshot(
        tool_version="test",
        taken_at=datetime(2026, 1, 2, tzinfo=UTC),
        sources=tuple(Source(kind=SourceKind.API, locator=f"/test/{index}") for index in range(64)),
        cluster=cluster,
        kinds=kinds,
        nodes=nodes,
    )


def judged_cluster(
    check: Check,
    *kinds: NodeKind,
    version: str = "v3.32.1",
    install: Install = "unknown",
    counts: tuple[int, ...] = (),
    expect: Dataplane = "bpf",
    **facts: Fact[Any],
) -> Finding:
    """Return the one finding of a check about a cluster of which only these facts are known."""
    one = cluster_snapshot(ClusterFacts(**facts), *kinds, counts=counts)
    (finding,) = judge(one, (check,), release(version), install, expect)
    assert "The check itself failed" not in finding.message, finding.message
    return finding


def finding(status: Status, *subjects: str, id: str = "node.a", cause: str = "cause") -> Finding:
    """A finding of a check of nodes that can fail."""
    return Finding(
        id=id,
        title="A check",
        category="test",
        scope="node",
        severity=Severity.BLOCKER,
        status=status,
        subjects=subjects,
        message="what was seen",
        reason=Reason.TIMEOUT if status is Status.UNKNOWN else None,
        docs_url="https://example.com",
        fingerprint=fingerprint(id, status, cause),
    )
