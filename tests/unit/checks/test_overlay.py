import json
import shlex
from typing import Any

import pytest

from ebpfcheck.checks import overlay
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import Bgp, CalicoNode, FelixObject, Installation, IpPool
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list ippools")
ONE, TWO = known(("10.0.0.0/24",)), known(("10.0.0.0/24", "10.0.1.0/24"))


def pool(
    ipip: str = "Never", vxlan: str = "Never", *, v6: bool = False, disabled: bool = False, name: str = "p"
) -> IpPool:
    cidr = "fd00::/48" if v6 else "192.168.0.0/16"
    return IpPool(name=name, cidr=cidr, ipip_mode=ipip, vxlan_mode=vxlan, disabled=disabled)


def judged(*pools: IpPool, **more: Any) -> Finding:
    """Judge a manifest cluster in one subnet with the mesh, unless something else is said."""
    version, install = more.pop("version", "v3.32.1"), more.pop("install", "manifest")
    facts: dict[str, Any] = {
        "ip_pools": known(pools),
        "installation": ABSENT,
        "calico_node": known(CalicoNode(namespace="kube-system", name="calico-node", image="")),
        "bgp": known(Bgp()),
        "node_subnets": ONE,
        "other_networks": known(()),
        "felix_default": ABSENT,
        **more,
    }
    return judged_cluster(overlay.encapsulation, version=version, install=install, **facts)


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        finding = judged_cluster(overlay.encapsulation, version=str(minor), install=install)
        assert finding.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("pools", "status", "words"),
    [
        ((pool("Always"),), Status.WARN, "uses IPIP"),
        ((pool("CrossSubnet"),), Status.WARN, "uses IPIP"),
        ((pool(vxlan="Always"),), Status.PASS, "uses VXLAN"),
        ((pool(vxlan="CrossSubnet"),), Status.PASS, "uses VXLAN"),
        ((pool(),), Status.PASS, "all nodes are in one subnet"),
        ((pool("Always", v6=True),), Status.FAIL, "IPIP over IPv6"),
        ((pool("CrossSubnet", v6=True),), Status.FAIL, "IPIP over IPv6"),
        ((pool(vxlan="Always", v6=True),), Status.PASS, "uses VXLAN"),
        ((pool(v6=True),), Status.PASS, "all nodes are in one subnet"),
        ((pool(vxlan="Always"), pool("Always", v6=True)), Status.FAIL, "IPIP over IPv6"),
        ((pool(vxlan="Always"), pool("Always")), Status.WARN, "uses IPIP"),
        ((pool(vxlan="Always"), pool("Always", disabled=True)), Status.PASS, "still go by IPIP"),
        ((pool(vxlan="Always"), pool("Always", v6=True, disabled=True)), Status.PASS, "still go by IPIP"),
        ((pool(vxlan="Always"), pool(disabled=True)), Status.PASS, "outlive the switch."),
        ((pool("Always", disabled=True),), Status.UNKNOWN, "All IPPools are disabled"),
        ((pool("Sometimes"),), Status.UNKNOWN, "does not take"),
        ((pool(vxlan="\x1b[2J"),), Status.UNKNOWN, "does not take"),
        ((pool("Always", "Always"),), Status.UNKNOWN, "does not take"),
        ((pool("Sometimes", v6=True),), Status.UNKNOWN, "does not take"),
        ((IpPool(name="p", cidr="every\x1bwhere"),), Status.UNKNOWN, "does not take"),
        ((IpPool(name="p", cidr="192.168.1.7/16", vxlan_mode="Always"),), Status.PASS, "uses VXLAN"),
        ((pool("Always", v6=True), pool("Sometimes")), Status.FAIL, "IPIP over IPv6"),
        ((pool("Sometimes", disabled=True), pool(vxlan="Always")), Status.PASS, "uses VXLAN"),
    ],
)
def test_overlays(pools: tuple[IpPool, ...], status: Status, words: str) -> None:
    finding = judged(*pools)
    assert finding.status is status
    assert finding.severity is (Severity.NOTE if finding.note else Severity.BLOCKER)
    assert words in finding.message
    assert "\x1b" not in finding.message + finding.observed


def test_only_disabled_pools_with_ipip_are_mentioned() -> None:
    for other in (pool(disabled=True, name="old"), pool(vxlan="Always", name="old", disabled=True)):
        assert "old" not in judged(pool(vxlan="Always"), other).message
    assert "IPPool old" in judged(pool(vxlan="Always"), pool("Always", disabled=True, name="old")).message


def test_what_is_missing_without_an_overlay_is_said() -> None:
    finding = judged(pool(), node_subnets=TWO)
    assert "tells what is between them how" in finding.message
    assert finding.observed == "the nodes are in 2 subnets, no BGPPeers"
    finding = judged(pool(), bgp=known(Bgp(mesh=False)))
    assert "tells nodes how" in finding.message
    assert finding.observed == "the mesh between nodes is off, no BGPPeers"


def test_one_subnet_helps_nothing_where_calico_speaks_no_bgp() -> None:
    assert judged(pool(), installation=known(Installation(bgp="Disabled"))).status is Status.WARN
    assert judged(pool(), installation=known(Installation(bgp="Enabled"))).status is Status.PASS
    for backend, status in (("none", Status.WARN), ("vxlan", Status.WARN), ("bird", Status.PASS)):
        env = (("CALICO_NETWORKING_BACKEND", backend),)
        node = CalicoNode(namespace="kube-system", name="calico-node", image="", env=env)
        assert judged(pool(), calico_node=known(node)).status is status


def test_a_pool_without_overlay_decides_beside_one_with_vxlan() -> None:
    assert judged(pool(vxlan="Always"), pool(), node_subnets=TWO).status is Status.WARN


@pytest.mark.parametrize("version", ["v3.13", "v3.15"])
@pytest.mark.parametrize("one", [pool("Always"), pool(vxlan="Always")])
def test_the_preview_takes_no_overlay(version: str, one: IpPool) -> None:
    assert judged(one, version=version).status is Status.WARN
    assert "technology preview" in judged(one, version=version).message
    assert "technology preview" not in judged(one, version="v3.16").message
    assert judged(pool(), version=version).status is Status.PASS


@pytest.mark.parametrize(
    ("felix", "words"),
    [
        (ABSENT, "UDP port 4789 has"),
        (known(FelixObject(settings=FelixSettings())), "UDP port 4789 has"),
        (known(FelixObject(settings=FelixSettings(vxlan_port=4790))), "UDP port 4790 has"),
        (FORBIDDEN, "UDP port 4789 (or what vxlanPort says) has"),
    ],
)
def test_the_port_that_has_to_be_open(felix: Fact[Any], words: str) -> None:
    finding = judged(pool(vxlan="Always"), felix_default=felix)
    assert words in finding.message
    assert finding.note


AWS = known(("kube-system/aws-node",))


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"node_subnets": TWO}, Status.WARN, "2 subnets"),
        ({"node_subnets": known(())}, Status.UNKNOWN, "no nodes yet"),
        ({"node_subnets": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"node_subnets": ABSENT}, Status.UNKNOWN, "one subnet could not be told"),
        ({"bgp": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"bgp": ABSENT}, Status.PASS, "one subnet"),
        ({"bgp": known(Bgp(mesh=False))}, Status.WARN, "mesh between nodes is off"),
        ({"bgp": known(Bgp(mesh=False)), "node_subnets": FORBIDDEN}, Status.WARN, "mesh between nodes is off"),
        ({"bgp": known(Bgp(mesh=False, peers=2)), "node_subnets": TWO}, Status.PASS, "BGPPeers"),
        ({"bgp": known(Bgp(peers=1)), "node_subnets": FORBIDDEN}, Status.PASS, "BGPPeers"),
        ({"other_networks": AWS, "node_subnets": TWO}, Status.PASS, "the AWS VPC CNI"),
        ({"other_networks": known(("kube-system/azure-cns",)), "bgp": FORBIDDEN}, Status.PASS, "Azure CNI"),
        ({"other_networks": known(("x/kube-flannel",)), "node_subnets": TWO}, Status.WARN, "2 subnets"),
        ({"other_networks": FORBIDDEN, "node_subnets": TWO}, Status.UNKNOWN, "not allowed"),
        ({"other_networks": FORBIDDEN, "bgp": known(Bgp(mesh=False))}, Status.UNKNOWN, "not allowed"),
        ({"other_networks": FORBIDDEN}, Status.PASS, "one subnet"),
        ({"installation": FORBIDDEN, "node_subnets": TWO}, Status.WARN, "2 subnets"),
        ({"installation": FORBIDDEN, "node_subnets": TWO, "install": "operator"}, Status.UNKNOWN, "not allowed"),
    ],
)
def test_what_shows_that_no_overlay_is_needed(changes: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(pool(), **changes)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("cni", "others", "status"),
    [
        ("AmazonVPC", known(()), Status.PASS),
        ("AzureVNET", known(()), Status.PASS),
        ("GKE", known(()), Status.PASS),
        ("Calico", known(()), Status.WARN),
        ("Calico", AWS, Status.WARN),
        (None, AWS, Status.PASS),
        ("\x1b[2J", known(()), Status.WARN),
    ],
)
def test_the_cni_plugin_of_a_cloud(cni: str | None, others: Fact[Any], status: Status) -> None:
    installation = known(Installation(cni_type=cni))
    facts: dict[str, Any] = {"installation": installation, "other_networks": others, "install": "operator"}
    assert judged(pool(), node_subnets=TWO, **facts).status is status
    without = judged(**facts)
    assert without.status is Status.PASS
    assert without.note is (status is not Status.PASS)
    assert "\x1b" not in without.message


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.PASS, "another IPAM gives the addresses"),
        ({"ip_pools": ABSENT}, Status.PASS, "another IPAM gives the addresses"),
        ({"ip_pools": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"other_networks": FORBIDDEN}, Status.PASS, "another IPAM gives the addresses"),
        ({"calico_node": ABSENT, "ip_pools": ABSENT}, Status.NOT_APPLICABLE, "not installed"),
        ({"calico_node": FORBIDDEN}, Status.UNKNOWN, "whether Calico is installed could not be seen"),
        ({"calico_node": ABSENT, "installation": FORBIDDEN, "install": "unknown"}, Status.UNKNOWN, "not allowed"),
        ({"other_networks": AWS}, Status.PASS, "the AWS VPC CNI"),
    ],
)
def test_no_pools(changes: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(**changes)
    assert finding.status is status
    assert words in finding.message


def test_the_commands_that_change_pools() -> None:
    remediation = judged(pool("Always", name="default"), pool("Always", name="a b;c")).remediation
    assert remediation is not None
    assert remediation.disruptive
    patch = """'{"spec": {"ipipMode": "Never", "vxlanMode": "Always"}}'"""
    assert remediation.commands == (
        f"kubectl patch ippool default --type merge -p {patch}",
        f"kubectl patch ippool 'a b;c' --type merge -p {patch}",
    )
    remediation = judged(pool("Always", v6=True, name="six")).remediation
    assert remediation is not None
    assert remediation.commands == ("""kubectl patch ippool six --type merge -p '{"spec": {"ipipMode": "Never"}}'""",)


def test_vxlan_goes_between_the_same_nodes_as_ipip_did() -> None:
    remediation = judged(pool("Always", name="a"), pool("CrossSubnet", name="b")).remediation
    assert remediation is not None
    assert ['"vxlanMode": "Always"' in command for command in remediation.commands] == [True, False]
    assert ['"vxlanMode": "CrossSubnet"' in command for command in remediation.commands] == [False, True]


@pytest.mark.parametrize(
    ("version", "is_apart"), [("v3.16", True), ("v3.22", True), ("v3.23", False), ("v3.33", False)]
)
def test_releases_whose_felix_is_told_of_vxlan_apart(version: str, is_apart: bool) -> None:
    remediation = judged(pool("Always"), version=version).remediation
    assert remediation is not None
    assert ("calicoctl" in remediation.text) is is_apart
    first = """kubectl patch felixconfiguration default --type merge -p '{"spec": {"vxlanEnabled": true}}'"""
    assert (remediation.commands[0] == first) is is_apart
    assert len(remediation.commands) == 1 + is_apart


@pytest.mark.parametrize(
    ("version", "start"),
    [
        ("v3.31.3", "After upgrading to v3.31.4 or later (cluster.calico.version): open UDP port 4790 between"),
        ("v3.31", "After upgrading to v3.31.4 or later (cluster.calico.version): open UDP port 4790 between"),
        ("v3.31.4", "Open UDP port 4790 between all nodes first, then change the pools"),
        ("v3.30", "Open UDP port 4790 between all nodes first, then change the pools"),
    ],
)
def test_what_comes_before_vxlan(version: str, start: str) -> None:
    felix = known(FelixObject(settings=FelixSettings(vxlan_port=4790)))
    remediation = judged(pool("Always"), version=version, felix_default=felix).remediation
    assert remediation is not None
    assert remediation.text.startswith(start)
    remediation = judged(pool("Always", v6=True), version=version, felix_default=felix).remediation
    assert remediation is not None
    assert remediation.text.startswith("Change the pools")


def test_many_pools_are_cut_short() -> None:
    finding = judged(*(pool("Always", name=f"pool-{number}") for number in range(7)))
    assert "pool-3 (192.168.0.0/16) and 3 more" in finding.message


def test_pools_that_the_operator_keeps_are_changed_in_its_installation() -> None:
    listed = known(Installation(pools=("10.9.0.0/16", "192.168.0.0/16")))
    finding = judged(pool("CrossSubnet"), installation=listed, install="operator")
    assert finding.remediation is not None
    assert "where the Installation lists them" in finding.remediation.text
    (command,) = finding.remediation.commands
    assert command.startswith("kubectl patch installation default --type json -p ")
    assert json.loads(shlex.split(command)[-1]) == [
        {"op": "replace", "path": "/spec/calicoNetwork/ipPools/1/encapsulation", "value": "VXLANCrossSubnet"}
    ]
    # Before v3.28 it told calico-node of them once, and others it does not know.
    for changes in ({"version": "v3.27.5"}, {"installation": known(Installation(pools=("10.9.0.0/16",)))}):
        finding = judged(pool("Always"), **{"installation": listed, "install": "operator", **changes})
        assert finding.remediation is not None
        assert "Installation" not in finding.remediation.text
        (command,) = finding.remediation.commands
        assert command.startswith("kubectl patch ippool p ")


def test_a_pool_without_an_overlay_does_not_hide_one_with_it() -> None:
    finding = judged(pool(vxlan="Always"), pool(v6=True, name="six"))
    assert finding.message.startswith("IPPool six (fd00::/48) uses no overlay (IPPool p (192.168.0.0/16) uses VXLAN, ")
    assert "UDP port 4789" in finding.message
