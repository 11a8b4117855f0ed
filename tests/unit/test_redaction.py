"""What a redacted snapshot must not tell any more, and what it must go on to tell."""

import json
import re
from collections.abc import Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.collect.node import node_facts
from ebpfcheck.collect.redaction import RULES, Rule, redacted
from ebpfcheck.collect.transport import Survey
from ebpfcheck.engine import judge
from ebpfcheck.model.cluster import ClusterFacts, KubeProxy
from ebpfcheck.model.codec import decode_snapshot, encode_snapshot, schema_of
from ebpfcheck.model.facts import (
    CalicoNodePod,
    FelixLog,
    FelixSettings,
    Known,
    Link,
    Mount,
    MountStack,
    NodeFacts,
    NodeIdentity,
    NodeKind,
    Reason,
    Source,
    SourceKind,
    Unknown,
    Vxlan,
)
from ebpfcheck.model.snapshot import NodeTraits, Problem, Snapshot, SourceIndex, Unseen, fold_nodes
from tests.builders import FIXTURES, NONCE, Part, document, facts, kind, known, release, snapshot

STORIES = sorted((FIXTURES / "snapshots").glob("*/snapshot.json"))
SURVEYS = sorted((FIXTURES / "nodes").glob("*.survey"))
RELEASES = ("v3.16", "v3.24", "v3.28.5", "v3.30", "v3.32.1", "v3.33")

# Everything that would tell whose a snapshot is; each is looked for in lower case.
SECRETS = (
    "zeus-7", "hera.corp.example.com", "hera", "corp.example.com", "10.20.30.41", "10-20-30-41", "10.20.30",
    "2600:1f18:77:8::abcd", "2600:1f18", "52:54:00:ab:cd:ef", "52-54-00-ab-cd-ef", "5254.00ab.cdef", "525400abcdef",
    "5054:ff:feab:cdef", "mallory", "hunter2", "tenant-blue",
)  # fmt: skip
SEEDED = (
    "Zeus-7 HERA.corp.example.com hera.corp.example.com. hera: nfs.corp.example.com:/export root@zeus-7 "
    "10.20.30.41/24 10.20.30.42:/export ip-10-20-30-41 2600:1F18:77:8::abcd/64 [2600:1f18:77:8::abcd]:443 "
    "fe80::5054:ff:feab:cdef%enx525400abcdef mac:52:54:00:ab:cd:ef 52-54-00-AB-CD-EF 5254.00ab.cdef "
    "enx525400abcdef.100 /home/mallory/x mallory@10.20.30.41 https://mallory:hunter2@zeus-7/ password=hunter2,ro "
    "--token hunter2 /etc/sysctl.d/99-zeus-7.conf: net.ipv4.conf.enx525400abcdef.rp_filter=1 ip -n tenant-blue link "
    "/run/docker/netns/tenant-blue"
)


def of_survey(data: bytes, nonce: str) -> Snapshot:
    sources = SourceIndex()
    node, problems = node_facts(Survey(data=data, nonce=nonce), SourceKind.LOCAL, sources)
    kinds, nodes = fold_nodes((node,))
    return msgspec.structs.replace(
        snapshot(), sources=sources.listed(), kinds=kinds, nodes=nodes, problems=tuple(problems)
    )


def recorded() -> list[Any]:
    stories = [pytest.param(decode_snapshot(path.read_bytes()), id=path.parent.name) for path in STORIES]
    return stories + [pytest.param(of_survey(path.read_bytes(), "fixture"), id=path.stem) for path in SURVEYS]


def with_text(text: str, *names: str) -> Snapshot:
    """A snapshot of named nodes with a text in a problem."""
    made = snapshot(*(kind(systemd_version=known(number)) for number, _ in enumerate(names)), names=names)
    return msgspec.structs.replace(made, problems=(Problem(source="x", reason=Reason.TIMEOUT, detail=text),))


def text_of(text: str, *names: str) -> str:
    return redacted(with_text(text, *names)).problems[0].detail


def judged(one: Snapshot, version: str) -> list[tuple[str, str, str, int, bool]]:
    findings = judge(one, BUILTIN, release(version), "unknown")
    assert not [finding.message for finding in findings if "The check itself failed" in finding.message]
    return sorted(
        (found.id, found.status, found.fingerprint, len(found.subjects), found.needs_survey) for found in findings
    )


def judged_by_all(one: Snapshot) -> list[list[tuple[str, str, str, int, bool]]]:
    return [judged(one, version) for version in RELEASES]


# What it must not tell.


def planted(value: Any, rule: Any = Rule.TEXT) -> Any:
    """The value with everything that is secret in each string that is not kept."""
    if isinstance(value, msgspec.Struct):
        rules = RULES.get(type(value), {})
        changed = {name: planted(getattr(value, name), rules.get(name, rule)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **changed)
    if isinstance(value, tuple):
        if isinstance(rule, tuple):
            return tuple(tuple(planted(item, one) for item, one in zip(pair, rule, strict=True)) for pair in value)
        return tuple(planted(item, rule) for item in value)
    if not isinstance(value, str) or isinstance(value, Enum):
        return value
    if rule in (Rule.TEXT, Rule.WORDS):
        return f"{value} {SEEDED}"
    return {
        Rule.NODE: "zeus-7",
        Rule.NAMESPACE: "docker/tenant-blue",
        Rule.PROC_VERSION: "Linux version 6.1.0 (mallory@hera.corp.example.com) (gcc) #1 SMP",
    }.get(rule, value)


def filled() -> Snapshot:
    """A snapshot whose every fact is known, and once more unknown."""
    whole = of_survey(document(), NONCE)
    (healthy,) = whole.kinds
    unknown = NodeKind(**{name: Unknown(reason=Reason.TIMEOUT, detail="it") for name in NodeKind.__struct_fields__})
    mount = Mount(point="/mnt", fstype="bpf", source="server:/x", options=("rw", "mode=700"))
    healthy = msgspec.structs.replace(
        healthy,
        bpffs=known(MountStack(visible=mount, hidden=(mount,))),
        bpffs_elsewhere=known(("/mnt",)),
        bpffs_fstab=known(("bpf /sys/fs/bpf bpf",)),
        bpffs_unit=known("/etc/systemd/system/x"),
        rp_filter_files=known(("/etc/sysctl.conf: x",)),
        unmanaged_devices=known(("/etc/NetworkManager/NetworkManager.conf: x",)),
        vxlans=known((Vxlan(name="vxlan0", port=1, is_up=True, takes_all_vnis=False, namespace="blue"),)),
        felix=known(FelixSettings(bpf_data_iface_pattern="^eth", bpf_l3_iface_pattern="^wg", mtu_iface_pattern="^eth")),
        calico_cgroup=known(MountStack(visible=mount)),
        felix_log=known(FelixLog(start="seen", mode="standard", fallback="it", api_host="api", signs=(("dirty", 1),))),
        calico_node_pod=known(CalicoNodePod(phase="Running", is_ready=True)),
    )
    kinds, nodes = fold_nodes(
        NodeFacts(identity=NodeIdentity(name=name, addresses=(("eth0", "10.20.30.41/24"),)), kind=one)
        for name, one in (("zeus-7", healthy), ("hera.corp.example.com", unknown))
    )
    return msgspec.structs.replace(
        whole,
        kinds=kinds,
        nodes=nodes,
        unseen=(Unseen(name="zeus-7", reason=Reason.TIMEOUT, detail="it"),),
        problems=(Problem(source="it", reason=Reason.TIMEOUT, detail="it"),),
    )


def test_no_seeded_secret_is_left_in_any_string() -> None:
    whole = filled()
    seeded = planted(whole)
    # The second name must stay a node's, for the secrets that hang on it.
    other = msgspec.structs.replace(seeded.nodes[1].identity, name="hera.corp.example.com")
    seeded = msgspec.structs.replace(
        seeded, nodes=(seeded.nodes[0], msgspec.structs.replace(seeded.nodes[1], identity=other))
    )
    before = encode_snapshot(seeded).decode().lower()
    assert not [secret for secret in SECRETS if secret not in before]
    after = encode_snapshot(redacted(seeded)).decode().lower()
    assert not [secret for secret in SECRETS if secret in after]


def test_no_seeded_secret_of_a_survey_is_left() -> None:
    nic = "enx525400abcdef"
    listed = {
        f"link-{name}": Part(f"/sys/class/net/{nic}/{file}:{value}\n")
        for name, file, value in (("mtus", "mtu", "1500"), ("flags", "flags", "0x1003"), ("types", "type", "1"))
    }
    survey = document({
        **listed,
        "hostname": Part("hera.corp.example.com\n"),
        "version": Part("Linux version 6.1.0-29-amd64 (mallory@hera) (gcc-12) #1 SMP\n"),
        "link-drivers": Part(f"/sys/class/net/{nic}/device/driver ../../usb/drivers/r8152\n"),
        "addresses": Part(
            f"2: {nic}    inet 10.20.30.41/24 scope global {nic}\\       valid_lft forever\n"
            f"2: {nic}    inet6 2600:1f18:77:8::abcd/64 scope global \\       valid_lft forever\n"
        ),
        "node-ip": Part("kubelet\n--node-ip=10.20.30.41\n"),
        "nameservers": Part("nameserver 10.20.30.42\nnameserver 2600:1f18:77:8::53\n"),
        "routes": Part(f"{nic}\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"),
        "offloads": Part(f"Features for {nic}:\ntx-checksum-ip-generic: on\n"),
        "rp-filter": Part(f"/proc/sys/net/ipv4/conf/{nic}/rp_filter:2\n"),
        "sysctl-files": Part(f"/etc/sysctl.d/hera.conf:net.ipv4.conf.{nic}.rp_filter=1 # mallory@hera\n"),
        "network-manager": Part("/etc/NetworkManager/x.conf:unmanaged-devices=mac:52:54:00:ab:cd:ef\n"),
        "bpf-net": Part(f'[{{"xdp":[{{"devname":"{nic}","name":"x"}}],"tc":[]}}]'),
        "fstab": Part("//nfs.corp.example.com/x /sys/fs/bpf bpf rw,username=mallory,password=hunter2 0 0\n"),
        "vxlans-in:tenant-blue": Part('[{"ifname":"vx","flags":["UP"]}]', locator="ip -n tenant-blue link"),
        "lockdown": Part("hera 10.20.30.41", locator="/home/mallory/lockdown"),
    })  # fmt: skip
    whole = of_survey(survey, NONCE)
    before = encode_snapshot(whole).decode().lower()
    told = [secret for secret in SECRETS if secret in before]
    assert len(told) >= 11, told
    hidden = redacted(whole)
    after = encode_snapshot(hidden).decode().lower()
    assert not [secret for secret in SECRETS if secret in after]
    assert judged_by_all(hidden) == judged_by_all(whole)
    links, owners = hidden.kinds[0].links, hidden.kinds[0].node_address_links
    assert isinstance(links, Known)
    assert isinstance(owners, Known)
    (name,) = owners.value
    assert re.fullmatch("enx[0-9a-f]{12}", name)
    assert [link.name for link in links.value] == [name]
    assert {pair[0] for pair in hidden.nodes[0].identity.addresses} == {name}
    assert f"net.ipv4.conf.{name}.rp_filter=1" in after


def test_nothing_in_it_gives_the_originals_back() -> None:
    for secret in ("10.20.30.41", "2600:1f18:77:8::abcd", "52:54:00:ab:cd:ef"):
        assert len({text_of(secret, "zeus-7") for _ in range(8)}) > 1


# What it must go on to tell.


@pytest.mark.parametrize("whole", recorded())
def test_what_was_recorded_is_judged_the_same(whole: Snapshot) -> None:
    hidden = redacted(whole)
    assert judged_by_all(hidden) == judged_by_all(whole)
    assert [node.kind for node in hidden.nodes] == [node.kind for node in whole.nodes]
    assert len(set(hidden.kinds)) == len(whole.kinds)
    assert len(hidden.sources) == len(whole.sources)
    data = encode_snapshot(hidden)
    assert decode_snapshot(data) == hidden
    jsonschema.validate(json.loads(data), schema_of("snapshot"))
    for node in whole.nodes:
        assert not re.search(rf"(?<![\w-]){re.escape(node.identity.name)}(?![\w-])", data.decode())


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from strings(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from strings(item)


# What each fact is made of when something is wrong, for the words in it.
TROUBLED = kind(
    **{
        **{name: getattr(facts().kind, name) for name in NodeKind.__struct_fields__},
        "links": known(
            tuple(
                Link(name=name, kind=of, mtu=1400, is_up=True, has_default_route=name == "bond0", lower=lower)
                for name, of, lower in (
                    ("bond0", "bond", ("ens3",)), ("docker0", "bridge", ()), ("egress.calico", "tunnel", ()),
                    ("enp1s0", "ethernet", ()), ("ens3", "ethernet", ()), ("eth0", "ethernet", ()),
                    ("kube-ipvs0", "dummy", ()), ("tunl0", "tunnel", ()), ("vxlan-v6.calico", "vxlan", ()),
                    ("vxlan.calico", "vxlan", ()), ("wg-v6.cali", "wireguard", ()), ("wireguard.cali", "wireguard", ()),
                    ("wlan0", "ethernet", ()),
                )
            )
        ),
        "node_address_links": known(("enp1s0", "wlan0")),
        "offloads": known((("enp1s0", ("rx-vlan-offload", "tx-udp_tnl-segmentation")),)),
        "bpffs_fstab": known(("bpf /sys/fs/bpf bpf rw,noauto 0 0", "none /sys/fs/bpf bpf defaults 0 0")),
        "nft_tables": known(("inet filter", "ip kube-proxy", "ip6 kube-proxy")),
        "rp_filter": known((("all", 1), ("default", 1), ("enp1s0", 1))),
        "rp_filter_files": known(("/etc/sysctl.d/1.conf: net.ipv4.conf.all.rp_filter = 1",)),
        "unmanaged_devices": known(
            ("/etc/NetworkManager/x.conf: unmanaged-devices=interface-name:cali*;interface-name:tunl*;"
             "interface-name:vxlan.calico",)
        ),
        "programs": known(("NetworkManager", "k3s", "kubelet")),
        "vxlans": known((Vxlan(name="flannel.1", port=4789, is_up=True, takes_all_vnis=False, namespace="docker/1"),)),
        "felix": known(
            FelixSettings(bpf_data_iface_pattern="^(eth.*|enp.*|vxlan.calico$)", mtu_iface_pattern="^enp.*")
        ),
    }
)  # fmt: skip
WORDY = [facts().kind, TROUBLED, *(one for path in SURVEYS for one in of_survey(path.read_bytes(), "fixture").kinds)]


def words_of(value: Any) -> set[str]:
    """Every word of a value's strings that a host may be called, parts and wholes."""
    texts = set(strings(value))
    joined = {word for text in texts for word in re.findall(r"\w+(?:[.-]+\w+)*", text)}
    return joined | {part for word in joined for part in re.split("[.-]", word)} - {""}


@pytest.mark.parametrize("one", WORDY)
def test_a_host_may_be_called_like_any_word_of_the_facts(one: NodeKind) -> None:
    versions = ("v3.16", "v3.28.5", "v3.32.1")
    expected = [judged(snapshot(one), version) for version in versions]
    for word in sorted(words_of(one)):
        hidden = redacted(snapshot(one, names=(word,)))
        assert hidden.nodes[0].identity.name != word
        assert [judged(hidden, version) for version in versions] == expected, word


@pytest.mark.parametrize(
    "path",
    [path for path in STORIES if not decode_snapshot(path.read_bytes()).nodes[0].surveyed],
    ids=lambda path: path.parent.name,
)
def test_nodes_that_nobody_looked_at_may_be_called_so(path: Path) -> None:
    whole = decode_snapshot(path.read_bytes())
    names = ("node", "api", "nodes", "survey", "list", "apis")
    called = tuple(
        msgspec.structs.replace(node, identity=msgspec.structs.replace(node.identity, name=name))
        for node, name in zip(whole.nodes, names, strict=False)
    )
    whole = msgspec.structs.replace(whole, nodes=called)
    expected = judged(whole, "v3.31.2")
    assert any(needs_survey for *_, needs_survey in expected)
    assert judged(redacted(whole), "v3.31.2") == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            ("/run", "--also-stdout", "/usr/bin/kube-proxy", "--x=y"),
            ("/run", "--also-stdout", "/usr/bin/kube-proxy", "--x=hidden-1"),
        ),
        (
            ("sh", "-c", "kube-proxy --all --proxy-mode=ipvs --x y"),
            ("sh", "-c", "kube-proxy --all --proxy-mode=ipvs --x hidden-1"),
        ),
        (("sh", "-c", "run --a kube-proxy --x='y z' --v 2"), ("sh", "-c", "run --a kube-proxy --x=hidden-1 --v 2")),
        (
            ("--proxy-mode", "ipvs", "--x", "y", "--all", "--z=1"),
            ("--proxy-mode", "ipvs", "--x", "hidden-2", "--all", "--z=hidden-1"),
        ),
    ],
)
def test_of_a_command_only_what_is_judged_stays(command: tuple[str, ...], expected: tuple[str, ...]) -> None:
    proxy = KubeProxy(namespace="kube-system", name="kube-proxy", runs_as="daemonset", image="", command=command)
    one = msgspec.structs.replace(snapshot(), cluster=ClusterFacts(kube_proxy=known(proxy)))
    hidden = redacted(one).cluster
    assert hidden is not None
    assert isinstance(hidden.kube_proxy, Known)
    assert hidden.kube_proxy.value.command == expected


def test_felix_patterns_match_the_same_interfaces_as_before() -> None:
    links = ("enx525400abcdef", "to-zeus-7", "eth0", "enx0a0b0c0d0e0f")
    patterns = {"^(enx525400.*|to-zeus.*)$": False, "^(to-zeus-7|eth.*)$": True, "^enx0a0b0c": False, "(": True}
    for pattern, whole in patterns.items():
        one = kind(
            links=known(tuple(Link(name=name, kind="ethernet", mtu=1500, is_up=True) for name in links)),
            felix=known(FelixSettings(bpf_data_iface_pattern=pattern)),
        )
        (hidden,) = redacted(snapshot(one, names=("zeus-7",))).kinds
        assert isinstance(hidden.felix, Known)
        assert isinstance(hidden.links, Known)
        after = hidden.felix.value.bpf_data_iface_pattern
        assert after is not None
        assert (after == pattern.replace("zeus-7", "node-1")) is whole
        if pattern != "(":
            matched = [bool(re.search(after, link.name)) for link in hidden.links.value]
            assert matched == [bool(re.search(pattern, name)) for name in links]


def test_pools_and_zones_are_hidden_and_stay_apart() -> None:
    pools = ("tenant-blue", "mallory", "tenant-blue")
    traits = tuple(NodeTraits(pool=pool, zone="zeus-7", role="control-plane", is_ready=True) for pool in pools)
    hidden = redacted(msgspec.structs.replace(snapshot(kind(), names=("zeus-7",)), traits=traits)).traits
    assert [one.pool for one in hidden] == ["name-1", "name-3", "name-1"]
    assert {(one.zone, one.role, one.is_ready) for one in hidden} == {("name-2", "control-plane", True)}


def test_names_are_replaced_in_the_order_of_the_nodes() -> None:
    one = with_text("", "beta", "alpha.example.com", "node-1", "10.0.0.9")
    one = msgspec.structs.replace(one, unseen=(Unseen(name="Beta", reason=Reason.TIMEOUT, detail="ALPHA, beta-2"),))
    hidden = redacted(one)
    assert [node.identity.name for node in hidden.nodes] == ["node-2", "node-3", "node-4", "node-5"]
    assert (hidden.unseen[0].name, hidden.unseen[0].detail) == ("node-2", "node-3, node-2-2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zeus-7 ZEUS-7: zeus-77 xzeus-7", "node-1 node-1: zeus-77 xzeus-7"),
        ("zeus-7.corp.example.com. (zeus-7.service)", "node-1. (node-1.service)"),
        ("/etc/sysctl.d/99-zeus-7.conf", "/etc/sysctl.d/99-node-1.conf"),
        ("bpf at /sys/fs/bpf", "node-2 at /sys/fs/bpf"),
        ("the password is wrong (publickey,password).", "the password is wrong (publickey,password)."),
        ("it took 12:34:56 of 1.2.3 on 5.10.0.1.2", "it took 12:34:56 of 1.2.3 on 5.10.0.1.2"),
        ("/boot/config-5.10.0.1: /lib/modules/5.10.0.1/x", "/boot/config-5.10.0.1: /lib/modules/5.10.0.1/x"),
        ("127.0.0.53 0.0.0.0/0 255.255.255.0 169.254.20.10 999.1.1.1", None),
        ("::1 :: ::/0 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff", None),
        ("mallory@bastion", "user-1@host-1"),
        ("/home/mallory/x of mallory@zeus-7", "/home/user-1/x of user-1@node-1"),
        ("beef roast at 10.0.1.beef", "node-4 roast at 10.0.1.node-4"),
        ("nfs.corp.example.com refused ares", "host-1 refused node-5"),
        ("https://mallory:s3cr:t!@zeus-7/", "https://hidden-1@node-1/"),
        ("/api/v1/namespaces/blue/configmaps/red", "/api/v1/namespaces/name-1/configmaps/name-2"),
        ("get configmaps/red.x in blue: it took", "get configmaps/name-2 in name-1: it took"),
        ("several DaemonSets run kube-proxy (blue/a, red/b), ", "several DaemonSets run kube-proxy (name-1), "),
        ("'a host\x1b[1m'", "'node-3'"),
    ],
)
def test_texts(text: str, expected: str | None) -> None:
    names = ("zeus-7", "bpf", "a host\x1b[1m", "beef", "ares.corp.example.com")
    assert text_of(text, *names) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        ("mallory@zeus-7", "builder@host-1"),
        ("buildd@lcy02-amd64-015", "builder@host-1"),
        ("mallory@my-Ubuntu", "builder@host-1.Ubuntu"),
        ("mock@el8_2.Red Hat", "builder@host-1.el8_2.Red Hat"),
    ],
)
def test_the_kernels_builder_is_hidden_but_for_what_felix_looks_for(builder: str, expected: str) -> None:
    text = "Linux version 4.18.0-193.el8 ({}) (gcc 10.2.1.6) #1 SMP zeus-7"
    (hidden,) = redacted(snapshot(kind(proc_version=known(text.format(builder))), names=("zeus-7",))).kinds
    assert hidden.proc_version == known(text.format(expected))


def test_a_mac_stays_one_and_the_same() -> None:
    text = text_of("52:54:00:ab:cd:ef 5254.00AB.CDEF enx525400abcdef 52-54-00-ab-cd-ee", "zeus-7")
    colons, dots, name, other = text.split()
    digits = colons.replace(":", "")
    assert digits == dots.replace(".", "") == name.removeprefix("enx") != other.replace("-", "")
    assert int(digits[:2], 16) & 0b11 == 0b10


# Addresses.

V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
CLASSES = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "192.0.2.0/24", "224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/8", "fd00::/8", "fc00::/8", "fe80::/10", "ff00::/8",
        "2000::/3", "2001:db8::/32", "::ffff:0:0/96", "64:ff9b::/96", "::1/128", "::/128",
    )
)  # fmt: skip


def shared_bits(one: IPv4Address | IPv6Address, other: IPv4Address | IPv6Address) -> int:
    return one.max_prefixlen - (int(one) ^ int(other)).bit_length()


@st.composite
def pairs(draw: st.DrawFn) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Two addresses of one kind that share any number of bits, near a special network or not."""
    special = draw(st.sampled_from(CLASSES))
    first = draw(st.one_of(V4, V6, st.ip_addresses(network=str(special))))
    flip = draw(st.integers(0, first.max_prefixlen - 1))
    low = draw(st.integers(0, 2**flip - 1))
    return first, type(first)(int(first) ^ (1 << flip) ^ low)


@given(pairs())
@settings(max_examples=300, deadline=None)
def test_addresses_share_as_many_bits_as_before(pair: tuple[Any, Any]) -> None:
    one, other = (ip_address(word) for word in text_of(f"{pair[0]} {pair[1]}", "zeus-7").split())
    # IPv4 addresses written as IPv6 ones go with the IPv4 ones.
    assert shared_bits(one, other) == shared_bits(*pair)


@given(st.one_of(V4, V6, *(st.ip_addresses(network=str(network)) for network in CLASSES)), st.integers(0, 32))
@settings(max_examples=300, deadline=None)
def test_an_address_stays_in_its_class_and_keeps_its_prefix_length(address: Any, length: int) -> None:
    text = text_of(f"{address}/{length} x {address}", "zeus-7")
    first, _, second = text.split()
    after = ip_interface(first)
    assert first == f"{second}/{length}"
    for network in CLASSES:
        assert (after.ip in network) is (address in network)
    for trait in ("is_loopback", "is_unspecified", "is_link_local", "is_multicast"):
        assert getattr(after.ip, trait) is getattr(address, trait), trait


def test_addresses_change_at_all() -> None:
    text = "10.20.30.41 198.51.100.7 8.8.8.8 2600:1f18:77:8::abcd fe80::5054:ff:feab:cdef 192.168.77.78"
    changed = [before != after for before, after in zip(text.split(), text_of(text, "zeus-7").split(), strict=True)]
    # Each has eight bits or more to draw, so that now and then one stays.
    assert sum(changed) >= 4


def test_a_name_made_of_digits_is_not_looked_for_in_addresses() -> None:
    text = "52:54:00:be:ef:10 2600:beef::10 192.168.10.10"
    mac, six, four = text_of(text, "beef", "10", "be", "192.168").split()
    assert re.fullmatch("(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", mac)
    assert shared_bits(ip_address(six), ip_address("2600::")) < 128
    assert ip_address(four) in ip_network("192.168.0.0/16")


def test_an_ipv4_address_within_an_ipv6_one_is_the_same_as_without() -> None:
    four, mapped, translated = text_of("8.9.10.11 ::ffff:8.9.10.11 64:ff9b::809:a0b", "zeus-7").split()
    for network, address in (("::ffff:0:0", mapped), ("64:ff9b::", translated)):
        assert int(ip_address(address)) == int(ip_address(network)) | int(ip_address(four))


def test_an_address_before_a_colon_is_one_too() -> None:
    first, second = text_of("2600:1f18::9: x 2600:1f18::9", "zeus-7").split(" x ")
    assert first == f"{second}:"
    assert second != "2600:1f18::9"


def test_namespaces_have_one_name_everywhere() -> None:
    devices = tuple(
        Vxlan(name="vx", port=4789, is_up=True, takes_all_vnis=False, namespace=name)
        for name in ("", "docker/1-abc", "blue")
    )
    locators = ("/run/docker/netns/1-abc", "ip -n blue link", "survey: vxlans-in:docker/1-abc")
    one = msgspec.structs.replace(
        snapshot(kind(vxlans=known(devices))),
        sources=tuple(Source(kind=SourceKind.LOCAL, locator=locator) for locator in locators),
    )
    hidden = redacted(one)
    shown = [device.namespace for device in hidden.kinds[0].vxlans.value]  # type: ignore[union-attr]
    assert shown[0] == ""
    assert shown[1].removeprefix("docker/") != shown[2]
    swarm, blue = shown[1].removeprefix("docker/"), shown[2]
    assert [source.locator for source in hidden.sources] == [
        f"/run/docker/netns/{swarm}", f"ip -n {blue} link", f"survey: vxlans-in:docker/{swarm}"
    ]  # fmt: skip
    assert "abc" not in swarm


def test_networks_stay_the_same_everywhere() -> None:
    one = msgspec.structs.replace(
        snapshot(kind(nameservers=known(("10.1.2.3",)))),
        sources=(Source(kind=SourceKind.SSH, locator="root@10.1.2.3:22"),),
    )
    hidden = redacted(one)
    (server,) = hidden.kinds[0].nameservers.value  # type: ignore[union-attr]
    assert hidden.sources[0].locator == f"user-1@{server}:22"


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_text_and_any_names_can_be_redacted(text: str, names: list[str]) -> None:
    one = with_text(text, *names)
    decoded = decode_snapshot(encode_snapshot(redacted(one)))
    assert len(decoded.nodes) == len(names)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["a", "a.", "a-", "::", "1.1.", "@:/", "-token", "x y", "/home/", "ab:", "a@"])
def test_a_long_hostile_text_takes_no_long_time(part: str) -> None:
    text_of(part * 10**5, "a", "b.c.d", "x y\x1b")


# The list of rules.


def structs(shape: Any, found: dict[Any, None]) -> dict[Any, None]:
    """All types of structs that a type is made of."""
    for inner in getattr(shape, "__args__", ()):
        structs(inner, found)
    origin = getattr(shape, "__origin__", shape)
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct) and origin not in found:
        found[origin] = None
        for hint in get_type_hints(origin).values():
            structs(hint, found)
    return found


def holds_text(shape: Any) -> bool:
    return shape is str or any(holds_text(inner) for inner in getattr(shape, "__args__", ()))


def test_each_field_that_holds_text_has_a_rule_of_its_own() -> None:
    found = structs(Snapshot, {})
    assert {NodeKind, Link, Mount, Problem} <= set(found)
    for struct in found:
        hints = get_type_hints(struct)
        wanted = set(hints) if struct is NodeKind else {name for name, hint in hints.items() if holds_text(hint)}
        # What a fact knows goes by the rule of the field that holds the fact, and what a tuple holds likewise.
        wanted -= {"value"} if struct is Known else set()
        assert wanted <= set(RULES.get(struct, {})) <= set(hints), f"{struct.__name__}: RULES lacks a field"


def test_a_fact_without_a_rule_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RULES[NodeKind], "arch")
    (hidden,) = redacted(snapshot(kind(arch=known("10.20.30.41 of zeus-7")), names=("zeus-7",))).kinds
    assert "zeus-7" not in str(hidden)
    assert "10.20.30.41" not in str(hidden)


def test_a_fact_of_an_unheard_of_shape_is_refused() -> None:
    with pytest.raises(TypeError, match="dict"):
        redacted(msgspec.structs.replace(snapshot(), kinds=({"name": "zeus-7"},)))


def test_the_fixtures_are_there() -> None:
    assert len(STORIES) >= 4
    assert len(SURVEYS) >= 5
    assert all(isinstance(path, Path) for path in STORIES)
