from typing import Any

import pytest

from ebpfcheck.checks import mesh
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import AddOn
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list namespaces")


def felix(mode: str | None = None, stand_in: str | None = None, *, legacy: bool | None = None) -> NodeKind:
    return kind(
        felix=known(
            FelixSettings(
                bpf_connect_time_load_balancing=mode,
                bpf_host_networked_nat_without_ctlb=stand_in,
                bpf_connect_time_load_balancing_enabled=legacy,
            )
        )
    )


GATE = "BPFConnectTimeLoadBalancingWorkaround=enabled"


def gated(*, override: str | None = None, gates: str | None = None) -> NodeKind:
    settings = FelixSettings(
        bpf_connect_time_load_balancing_enabled=False, feature_detect_override=override, feature_gates=gates
    )
    return kind(felix=known(settings))


def add_ons(*programs: str) -> Fact[tuple[AddOn, ...]]:
    return known(tuple(AddOn(program=program, namespace="x", name=program) for program in programs))


def joined(*names: str) -> Fact[Any]:
    return known(tuple((name, index + 1) for index, name in enumerate(names)))


def judged(*kinds: NodeKind, version: str = "v3.32.1", counts: tuple[int, ...] = (), **facts: Any) -> Finding:
    given: dict[str, Any] = {
        "meshed_namespaces": known(()),
        "add_ons": known(()),
        "api_groups": known(("apps",)),
        **facts,
    }
    finding = judged_cluster(mesh.mesh_ctlb, *(kinds or (felix(),)), version=version, counts=counts, **given)
    assert finding.severity is (Severity.NOTE if finding.note else Severity.DEGRADE)
    return finding


@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (kind(),)):
            finding = judged_cluster(mesh.mesh_ctlb, *kinds, version=str(minor), install=install)
            assert finding.status is Status.UNKNOWN


def test_no_mesh() -> None:
    for minor in load_knowledge().minors():
        finding = judged(version=str(minor))
        assert finding.status is Status.PASS
        assert not finding.note
    assert (
        judged(kind(felix=ABSENT), meshed_namespaces=ABSENT, add_ons=ABSENT, api_groups=FORBIDDEN).status is Status.PASS
    )
    assert judged(add_ons=add_ons("multus", "metallb"), meshed_namespaces=known((("istio", 0),))).status is Status.PASS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("istio", "Istio (1 namespace)"),
        ("istio-ambient", "waypoint"),
        ("linkerd", "gRPC"),
        ("kuma", "Kuma's sidecars"),
        ("consul", "Consul's sidecars"),
    ],
)
def test_each_mesh_is_in_the_way_of(name: str, words: str) -> None:
    finding = judged(meshed_namespaces=joined(name))
    assert finding.status is Status.WARN
    assert words in finding.message
    assert "on for 1 of 1 nodes" in finding.message
    assert judged(felix("Disabled"), meshed_namespaces=joined(name)).status is Status.PASS


def test_several_meshes() -> None:
    finding = judged(meshed_namespaces=joined("istio", "linkerd"))
    assert "Istio (1 namespace) and Linkerd (2 namespaces)" in finding.message
    assert "REGISTRY_ONLY" in finding.message
    assert "gRPC" in finding.message


@pytest.mark.parametrize(
    ("version", "node", "status", "words"),
    [
        ("v3.27", felix(), Status.WARN, "is on for"),
        ("v3.27", felix("TCP"), Status.WARN, "is on for"),
        ("v3.27", felix("Enabled"), Status.WARN, "is on for"),
        ("v3.27", felix("Disabled", "Disabled"), Status.WARN, "are both Disabled"),
        ("v3.27", felix("Disabled"), Status.PASS, "is off"),
        ("v3.33", felix("disabled", "Enabled"), Status.PASS, "is off"),
        ("v3.33", felix("DISABLED", "disabled"), Status.WARN, "are both Disabled"),
        ("v3.32", felix("TCP", "Disabled"), Status.WARN, "is on for"),
        ("v3.32", felix(legacy=False), Status.WARN, "is on for"),
        ("v3.32", felix("Disabled", legacy=True), Status.PASS, "is off"),
        ("v3.26", felix("Disabled"), Status.WARN, "is on for"),
        ("v3.26", felix(legacy=True), Status.WARN, "is on for"),
        ("v3.26", felix(legacy=False), Status.WARN, "bpfConnectTimeLoadBalancingEnabled is false for 1 of 1 nodes"),
        ("v3.26", gated(gates=f"Other=x, {GATE}"), Status.PASS, "is off"),
        ("v3.25", gated(gates=GATE), Status.PASS, "is off"),
        ("v3.25", gated(override=GATE), Status.WARN, "is false for"),
        ("v3.25", gated(gates="BPFConnectTimeLoadBalancingWorkaround=udp"), Status.WARN, "is false for"),
        ("v3.24", gated(override=GATE), Status.PASS, "is off"),
        ("v3.24", gated(gates=GATE), Status.WARN, "is false for"),
        ("v3.23", gated(override=GATE, gates=GATE), Status.WARN, "is false for"),
        ("v3.23", felix(legacy=False), Status.WARN, "bpfConnectTimeLoadBalancingEnabled is false for 1 of 1 nodes"),
        ("v3.13", felix(legacy=False), Status.WARN, "bpfConnectTimeLoadBalancingEnabled is false for 1 of 1 nodes"),
        ("v3.13", felix(), Status.WARN, "is on for"),
    ],
)
def test_settings_by_release(version: str, node: NodeKind, status: Status, words: str) -> None:
    finding = judged(node, version=version, meshed_namespaces=joined("istio"))
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("version", "node", "status"),
    [
        ("v3.32.1", felix("Disabled", "Disabled"), Status.WARN),
        ("v3.32.1", felix("Disabled"), Status.PASS),
        ("v3.26", felix(legacy=False), Status.WARN),
        ("v3.23", felix(legacy=False), Status.WARN),
    ],
)
def test_the_nodes_own_processes_need_something_without_any_mesh(version: str, node: NodeKind, status: Status) -> None:
    assert judged(node, version=version).status is status
    assert judged(node, version=version, meshed_namespaces=FORBIDDEN, add_ons=FORBIDDEN).status is status


def test_some_nodes() -> None:
    finding = judged(felix("Disabled"), felix(), counts=(3, 2), meshed_namespaces=joined("istio"))
    assert "on for 2 of 5 nodes" in finding.message
    finding = judged(felix("Disabled", "Disabled"), felix(), counts=(3, 2))
    assert "for 3 of 5 nodes" in finding.message
    assert judged(felix("Disabled"), felix()).status is Status.PASS


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("v3.28.1", Status.WARN, "kubelet's probes"),
        ("v3.13", Status.WARN, "kubelet's probes"),
        ("v3.28", Status.UNKNOWN, "from v3.28.2 on"),
        ("v3.28.2", Status.WARN, "is on for"),
        ("v3.29", Status.WARN, "is on for"),
    ],
)
def test_probes_in_ambient_mode(version: str, status: Status, words: str) -> None:
    finding = judged(version=version, meshed_namespaces=joined("istio-ambient"))
    assert finding.status is status
    assert words in finding.message
    finding = judged(felix("Disabled"), version=version, add_ons=add_ons("ztunnel"))
    assert (finding.status is status) is (words != "is on for")
    assert judged(version=version, meshed_namespaces=joined("istio")).message.count("probes") == 0


@pytest.mark.parametrize(
    ("version", "status"), [("v3.28.1", Status.UNKNOWN), ("v3.28", Status.UNKNOWN), ("v3.28.2", Status.PASS)]
)
def test_meshes_unseen_matter_little_where_the_load_balancing_is_off(version: str, status: Status) -> None:
    assert judged(felix("Disabled"), version=version, meshed_namespaces=FORBIDDEN).status is status
    assert judged(felix("Disabled"), version=version, add_ons=FORBIDDEN).status is status


def test_facts_unseen() -> None:
    unseen = kind(felix=FORBIDDEN)
    assert judged(meshed_namespaces=FORBIDDEN).status is Status.UNKNOWN
    assert judged(meshed_namespaces=FORBIDDEN, add_ons=add_ons("istiod")).status is Status.UNKNOWN
    assert judged(add_ons=FORBIDDEN).status is Status.UNKNOWN
    assert judged(add_ons=FORBIDDEN, meshed_namespaces=joined("istio")).status is Status.WARN
    assert judged(unseen).status is Status.UNKNOWN
    assert judged(unseen, add_ons=add_ons("istiod")).status is Status.UNKNOWN
    finding = judged(unseen, felix(), meshed_namespaces=joined("istio"))
    assert finding.status is Status.UNKNOWN
    assert "Pods join Istio" in finding.message
    assert judged(unseen, felix("Disabled")).status is Status.UNKNOWN
    assert judged(unseen, felix("Disabled", "Disabled")).status is Status.WARN


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("istiod", "Istio runs"),
        ("ztunnel", "Istio in ambient mode runs"),
        ("linkerd", "Linkerd runs"),
        ("kuma", "Kuma runs"),
        ("consul", "Consul runs"),
        ("kmesh", "Kmesh runs"),
    ],
)
def test_a_mesh_that_nobody_joined_is_a_note(program: str, words: str) -> None:
    finding = judged(add_ons=add_ons(program))
    assert finding.status is Status.PASS
    assert finding.note
    assert words in finding.message
    assert "Before any do: set bpfConnectTimeLoadBalancing to Disabled" in finding.message
    assert not judged(felix("Disabled"), add_ons=add_ons(program)).note


@pytest.mark.parametrize("group", ["networking.istio.io", "policy.linkerd.io", "kuma.io", "consul.hashicorp.com"])
def test_api_groups_are_a_hint(group: str) -> None:
    finding = judged(api_groups=known((group,)))
    assert finding.note
    assert "is known to the API" in finding.message
    assert "is known to the API" not in judged(api_groups=known((group,)), add_ons=add_ons("linkerd")).message


def test_how_to_turn_it_off() -> None:
    finding = judged(meshed_namespaces=joined("istio"), version="v3.27.0")
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        "kubectl patch felixconfiguration default --type merge -p "
        """'{"spec": {"bpfConnectTimeLoadBalancing": "Disabled", "bpfHostNetworkedNATWithoutCTLB": "Enabled"}}'""",
    )
    assert "Take bpfConnectTimeLoadBalancingEnabled out" not in finding.remediation.text
    for node in (felix(legacy=True), felix("Disabled", "Disabled", legacy=False)):
        finding = judged(node, meshed_namespaces=joined("istio"))
        assert finding.remediation is not None
        assert '"bpfConnectTimeLoadBalancingEnabled": null' in finding.remediation.commands[0]
        assert '"bpfHostNetworkedNATWithoutCTLB": "Enabled"' in finding.remediation.commands[0]
        assert "Take bpfConnectTimeLoadBalancingEnabled out" in finding.remediation.text
    finding = judged(meshed_namespaces=joined("istio"), version="v3.26")
    assert finding.remediation is not None
    assert finding.remediation.commands == ()
    assert "Upgrade Calico to v3.27 or later" in finding.remediation.text
    finding = judged(felix(legacy=False), version="v3.23")
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        "kubectl patch felixconfiguration default --type merge -p "
        """'{"spec": {"bpfConnectTimeLoadBalancingEnabled": null}}'""",
    )
