from typing import Any

import pytest

from ebpfcheck.checks import add_ons
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import SCAN_NOT_ASKED, AddOn, Guests, Users, Workloads
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list it")
CHECKS = (add_ons.kubevirt, add_ons.multus, add_ons.bpf_others)


def running(*programs: str) -> Fact[tuple[AddOn, ...]]:
    return known(tuple(AddOn(program=program, namespace="x", name=program) for program in programs))


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (kind(),)):
            assert judged_cluster(check, *kinds, version=str(minor), install=install).status is Status.UNKNOWN


# KubeVirt.


def guests(count: int, *bridged: str, more: int = 0) -> Fact[Guests]:
    return known(Guests(count=count, bridged=Users(count=len(bridged) + more, examples=bridged)))


def redirecting(value: str | None = None) -> NodeKind:
    return kind(felix=known(FelixSettings(bpf_redirect_to_peer=value)))


def judged_guests(found: Fact[Guests], version: str = "v3.32.1", *kinds: NodeKind, **facts: Any) -> Finding:
    given: dict[str, Any] = {"guests": found, "add_ons": known(()), **facts}
    finding = judged_cluster(add_ons.kubevirt, *(kinds or (redirecting(),)), version=version, **given)
    assert finding.severity is Severity.DEGRADE
    return finding


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("v3.13", Status.PASS, "no bug of"),
        ("v3.28", Status.PASS, "no bug of"),
        ("v3.29.0", Status.WARN, "from other nodes"),
        ("v3.29", Status.WARN, "from other nodes"),
        ("v3.30.0", Status.WARN, "v3.30.1 or later"),
        ("v3.30", Status.UNKNOWN, "from v3.30.1 on"),
        ("v3.30.1", Status.PASS, "no bug of"),
        ("v3.31.0", Status.WARN, "on their own node"),
        ("v3.31.7", Status.WARN, "on their own node"),
        ("v3.31", Status.UNKNOWN, "from v3.31.8 on"),
        ("v3.31.8", Status.PASS, "no bug of"),
        ("v3.32.1", Status.WARN, "on their own node"),
        ("v3.32", Status.UNKNOWN, "from v3.32.2 on"),
        ("v3.32.2", Status.PASS, "no bug of"),
        ("v3.33", Status.PASS, "no bug of"),
    ],
)
def test_bridged_guests_by_release(version: str, status: Status, words: str) -> None:
    finding = judged_guests(guests(3, "vms/a"), version)
    assert finding.status is status
    required = finding.message + finding.required
    assert words in required
    assert "Of 3 running virtual machines 1 is bridged" in finding.message
    assert not finding.note


def test_the_way_around() -> None:
    finding = judged_guests(guests(3, "vms/a"))
    assert finding.remediation is not None
    assert finding.remediation.commands == (
        """kubectl patch felixconfiguration default --type merge -p '{"spec": {"bpfRedirectToPeer": "Disabled"}}'""",
    )


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ((redirecting("Disabled"),), Status.PASS),
        ((redirecting("L2Only"),), Status.WARN),
        ((redirecting("Disabled"), redirecting()), Status.WARN),
        ((redirecting("Disabled"), kind(felix=Unknown(reason=Reason.FORBIDDEN, detail="x"))), Status.UNKNOWN),
    ],
)
def test_where_it_was_taken(kinds: tuple[NodeKind, ...], status: Status) -> None:
    assert judged_guests(guests(3, "vms/a"), "v3.32.1", *kinds).status is status
    # Where there is no bug it does not matter.
    assert judged_guests(guests(3, "vms/a"), "v3.33", *kinds).status is Status.PASS


@pytest.mark.parametrize(
    ("found", "others", "status", "words"),
    [
        (guests(3), known(()), Status.PASS, "None of the 3 running"),
        (guests(0), known(()), Status.PASS, "No virtual machines run"),
        (ABSENT, known(()), Status.NOT_APPLICABLE, "no virtual machines"),
        (ABSENT, FORBIDDEN, Status.NOT_APPLICABLE, "no virtual machines"),
        (FORBIDDEN, running("kubevirt"), Status.UNKNOWN, "KubeVirt runs; whether its"),
        (FORBIDDEN, known(()), Status.UNKNOWN, "Whether virtual machines"),
        (FORBIDDEN, FORBIDDEN, Status.UNKNOWN, "Whether virtual machines"),
        (guests(3), FORBIDDEN, Status.PASS, "None of the 3 running"),
    ],
)
def test_other_guests(found: Fact[Guests], others: Fact[Any], status: Status, words: str) -> None:
    finding = judged_guests(found, add_ons=others)
    assert finding.status is status
    assert words in finding.message


def test_examples_are_few_and_harmless() -> None:
    finding = judged_guests(guests(9, "v/\x1b[2J", "v/b", "v/c", "v/d", "v/e", more=2))
    assert "v/c and 4 more)" in finding.message
    assert "7 are bridged" in finding.message
    assert "\x1b" not in finding.message + finding.observed
    assert "more" not in judged_guests(guests(9, "v/a", "v/b", "v/c")).observed
    assert len(judged_guests(guests(9, "v/" + "a" * 900)).observed) < 200


# Multus.


def asking(*names: str) -> Fact[Workloads]:
    return known(Workloads(count=9, extra_networks=Users(count=len(names), examples=names)))


def judged_multus(**facts: Any) -> Finding:
    given: dict[str, Any] = {
        "add_ons": running("multus"),
        "api_groups": known(("apps",)),
        "workloads": asking(),
        "pods": SCAN_NOT_ASKED,
        **facts,
    }
    finding = judged_cluster(add_ons.multus, **given)
    assert finding.severity is Severity.NOTE
    return finding


GROUP = known(("apps", "k8s.cni.cncf.io"))


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({}, Status.PASS, "no workload asks"),
        ({"add_ons": known(())}, Status.NOT_APPLICABLE, "not installed"),
        ({"add_ons": ABSENT}, Status.NOT_APPLICABLE, "not installed"),
        ({"add_ons": known(()), "api_groups": GROUP}, Status.PASS, "no workload asks"),
        ({"add_ons": FORBIDDEN, "api_groups": GROUP}, Status.PASS, "no workload asks"),
        ({"add_ons": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"add_ons": known(()), "api_groups": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"api_groups": FORBIDDEN}, Status.PASS, "no workload asks"),
        ({"workloads": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"workloads": asking("a/b")}, Status.PASS, "asked for by 1 workload (a/b)"),
        ({"workloads": asking("a/b"), "pods": asking("a/b-1", "a/b-2")}, Status.PASS, "asked for by 2 pods"),
        ({"workloads": FORBIDDEN, "pods": asking()}, Status.PASS, "no pod asks"),
        ({"workloads": asking("a/b"), "pods": FORBIDDEN}, Status.PASS, "asked for by 1 workload"),
    ],
)
def test_further_networks(facts: dict[str, Any], status: Status, words: str) -> None:
    finding = judged_multus(**facts)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is ("are asked for by" in finding.message)


def test_what_was_not_read_is_said() -> None:
    for workloads in (asking(), asking("a/b")):
        assert "--scan-pods" in judged_multus(workloads=workloads).message
        assert "--scan-pods" not in judged_multus(pods=workloads).message


# Others on the same hooks.


def nodes(*kernels: str) -> tuple[NodeKind, ...]:
    return tuple(kind(kernel_release=known(kernel), felix=known(FelixSettings())) for kernel in kernels)


NEW = nodes("6.6.0-1", "6.12.38+deb13-amd64")
OLD = nodes("6.5.13-generic", "6.12.38+deb13-amd64")
EL = nodes("5.14.0-427.13.1.el9_4.x86_64")


def judged_others(*kinds: NodeKind, version: str = "v3.32.1", found: Fact[Any]) -> Finding:
    finding = judged_cluster(add_ons.bpf_others, *kinds, version=version, add_ons=found)
    assert finding.severity is (Severity.NOTE if finding.note else Severity.DEGRADE)
    return finding


@pytest.mark.parametrize(
    ("program", "kinds", "version", "status", "words"),
    [
        ("netobserv", OLD, "v3.32.1", Status.WARN, "NetObserv runs"),
        ("netobserv", NEW, "v3.13", Status.PASS, "NetObserv runs: its programs are attached by TCX"),
        ("netobserv", NEW, "v3.32.1", Status.PASS, "NetObserv runs: its programs are attached by TCX"),
        ("netobserv", EL, "v3.32.1", Status.UNKNOWN, "could not be told"),
        ("netobserv", (*EL, *OLD), "v3.32.1", Status.WARN, "NetObserv runs"),
        ("netobserv", (*EL, *NEW), "v3.32.1", Status.UNKNOWN, "could not be told"),
        ("netobserv", (), "v3.32.1", Status.UNKNOWN, "could not be told"),
        ("netobserv", (*NEW, kind(kernel_release=FORBIDDEN)), "v3.32.1", Status.UNKNOWN, "could not be told"),
        ("netobserv", (*OLD, kind(kernel_release=FORBIDDEN)), "v3.32.1", Status.WARN, "NetObserv runs"),
        ("netobserv", nodes("nonsense"), "v3.32.1", Status.UNKNOWN, "could not be told"),
        ("retina", OLD, "v3.31", Status.WARN, "Retina runs"),
        ("retina", NEW, "v3.31", Status.PASS, "deletes the tc qdisc of the interfaces that it attaches to"),
        ("retina", NEW, "v3.30", Status.WARN, "packetparser"),
        ("retina", EL, "v3.30", Status.WARN, "packetparser"),
        ("retina", EL, "v3.31", Status.UNKNOWN, "packetparser"),
        ("datadog", OLD, "v3.30", Status.PASS, "The Datadog agent runs"),
        ("beyla", (), "v3.13", Status.PASS, "Beyla runs"),
        ("kubeshark", (), "v3.13", Status.PASS, "Kubeshark runs"),
        ("kmesh", (), "v3.13", Status.PASS, "see cluster.mesh.ctlb"),
    ],
)
def test_others(program: str, kinds: tuple[NodeKind, ...], version: str, status: Status, words: str) -> None:
    finding = judged_others(*kinds, version=version, found=running("metallb", program))
    assert finding.status is status
    assert words in finding.message
    assert finding.note is (status is Status.PASS)
    assert (finding.remediation is None) is (status is Status.PASS)


def test_nobody_else() -> None:
    for found in (known(()), ABSENT, running("metallb", "cilium", "istiod", "kubevirt", "multus")):
        finding = judged_others(found=found)
        assert finding.status is Status.PASS
        assert not finding.note
    assert judged_others(found=FORBIDDEN).status is Status.UNKNOWN


def test_the_worst_speaks() -> None:
    found = running("beyla", "datadog", "netobserv", "retina")
    finding = judged_others(*OLD, found=found)
    assert finding.status is Status.WARN
    assert "NetObserv runs" in finding.message
    assert "Retina runs" in finding.message
    assert "Beyla runs" not in finding.message
    assert finding.observed == "NetObserv, Retina, the Datadog agent, Beyla"
    finding = judged_others(*NEW, version="v3.30", found=running("netobserv", "retina"))
    assert finding.status is Status.WARN
    assert "NetObserv runs" not in finding.message
    assert "packetparser" in finding.message
    finding = judged_others(
        kind(kernel_release=FORBIDDEN, felix=known(FelixSettings())), found=running("netobserv", "beyla")
    )
    assert finding.reason is Reason.FORBIDDEN
    assert "Beyla runs" not in finding.message
    assert judged_others(*EL, found=running("netobserv")).reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(("version", "is_said"), [("v3.30", False), ("v3.31", True), ("v3.33", True)])
def test_what_felix_deletes(version: str, is_said: bool) -> None:
    finding = judged_others(version=version, found=running("datadog", "beyla", "kubeshark"))
    assert ("what the Datadog agent and Kubeshark put there" in finding.message) is is_said
    assert "put there" not in judged_others(version=version, found=running("beyla")).message


@pytest.mark.parametrize("program", ["netobserv", "retina"])
def test_felix_that_is_told_to_use_tc_is_in_reach(program: str) -> None:
    on_tc = kind(kernel_release=known("6.12.38"), felix=known(FelixSettings(bpf_attach_type="TC")))
    finding = judged_others(*NEW, on_tc, found=running(program))
    assert finding.status is Status.WARN
    assert "On kernels from" not in finding.message
    hidden = kind(kernel_release=known("6.12.38"), felix=Unknown(reason=Reason.FORBIDDEN, detail="not for you"))
    finding = judged_others(*NEW, hidden, found=running(program))
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.FORBIDDEN)
