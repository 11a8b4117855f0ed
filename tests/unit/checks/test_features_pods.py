import json
import shlex
from typing import Any

import pytest

from ebpfcheck.checks import features_pods
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import (
    SCAN_NOT_ASKED,
    CalicoPolicies,
    Installation,
    NetworkPolicies,
    Services,
    Users,
    Workloads,
)
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list these")
ONE = Users(count=1, examples=("a/b",))
TWO = Users(count=2, examples=("a/b", "c/\x1b[2J"))
NONE = known(Workloads(count=5))


def workloads(**users: Users) -> Fact[Workloads]:
    return known(Workloads(count=5, **users))


def judged(check: Check, *kinds: NodeKind, **more: Any) -> Finding:
    """Judge a cluster in which nobody asks for anything, unless something else is said."""
    facts: dict[str, Any] = {
        "version": "v3.32.1",
        "install": "manifest",
        "services": known(Services(count=5)),
        "calico_policies": known(CalicoPolicies(count=5)),
        "network_policies": known(NetworkPolicies(count=5)),
        "workloads": NONE,
        "installation": ABSENT,
        **more,
    }
    return judged_cluster(check, *(kinds or (felix(),)), **facts)


def felix(**settings: Any) -> NodeKind:
    return NodeKind(felix=known(FelixSettings(**settings)))


UNSEEN = NodeKind(felix=FORBIDDEN)


@pytest.mark.parametrize(
    ("check", "what", "version"),
    [
        (features_pods.sctp, "sctp", "v3.32.1"),
        (features_pods.floating_ips, "floating_ips", "v3.20"),
        (features_pods.source_prefixes, "source_prefixes", "v3.31"),
        (features_pods.hostport, "host_ports", "v3.22"),
    ],
    ids=["sctp", "floating-ips", "source-prefixes", "hostport"],
)
def test_where_users_are_looked_for(check: Check, what: str, version: str) -> None:
    one = workloads(**{what: ONE})

    def answer(of_templates: Fact[Any], of_pods: Fact[Any]) -> Finding:
        return judged(check, version=version, workloads=of_templates, pods=of_pods)

    assert "1 workload (a/b)" in answer(one, SCAN_NOT_ASKED).message
    assert "1 workload (a/b)" in answer(one, workloads(**{what: TWO})).message
    found = answer(NONE, workloads(**{what: TWO}))
    assert "2 pods (a/b, c/\\x1b[2J)" in found.message
    assert found.status is Status.WARN
    assert answer(FORBIDDEN, one).status is Status.WARN
    assert "1 pod (a/b)" in answer(FORBIDDEN, one).message

    calm = answer(NONE, SCAN_NOT_ASKED)
    assert calm.status is Status.PASS
    assert not calm.note
    assert "--scan-pods" in calm.message
    assert "No workload" in calm.message
    assert answer(NONE, NONE).status is Status.PASS
    assert "--scan-pods" not in answer(NONE, NONE).message
    assert "No pod" in answer(FORBIDDEN, NONE).message

    assert answer(FORBIDDEN, SCAN_NOT_ASKED).status is Status.UNKNOWN
    assert answer(NONE, FORBIDDEN).status is Status.UNKNOWN
    assert "not allowed" in answer(NONE, FORBIDDEN).message


# SCTP.

SERVICES = known(Services(count=5, sctp=TWO))
RULES = known(CalicoPolicies(count=5, sctp=ONE))
KUBERNETES = known(NetworkPolicies(count=5, sctp=TWO))


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"services": SERVICES}, Status.FAIL, "2 Services (a/b, c/\\x1b[2J) have SCTP ports"),
        ({"services": known(Services(count=1, sctp=ONE))}, Status.FAIL, "1 Service (a/b) has SCTP ports"),
        ({"services": SERVICES, "workloads": FORBIDDEN}, Status.FAIL, "these ports go dead"),
        ({"calico_policies": RULES}, Status.WARN, "1 policy of Calico's (a/b). "),
        ({"network_policies": KUBERNETES}, Status.WARN, "2 NetworkPolicies (a/b, c/\\x1b[2J). "),
        ({"calico_policies": RULES, "network_policies": KUBERNETES}, Status.WARN, "(a/b), 2 NetworkPolicies"),
        ({"calico_policies": RULES}, Status.WARN, "matches nothing"),
        ({"workloads": workloads(sctp=ONE)}, Status.WARN, "by 1 workload (a/b), which"),
        ({"calico_policies": RULES, "workloads": workloads(sctp=ONE)}, Status.WARN, "(a/b), 1 workload (a/b). "),
        ({"calico_policies": ABSENT}, Status.PASS, "No Service and no policy"),
        ({"services": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"calico_policies": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"network_policies": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        # What is known is told, though there may be more of it.
        ({"network_policies": FORBIDDEN, "calico_policies": RULES}, Status.WARN, "sees no ports"),
        ({"services": FORBIDDEN, "calico_policies": RULES}, Status.UNKNOWN, "not allowed"),
    ],
)
def test_sctp(changes: dict[str, Any], status: Status, words: str) -> None:
    for version in ("v3.18.0", "v3.32.1"):
        finding = judged(features_pods.sctp, version=version, **changes)
        assert finding.status is status
        assert words in finding.message
        assert finding.severity is Severity.BLOCKER
        assert "drops it at the pods" not in finding.message


@pytest.mark.parametrize(("version", "is_dropped"), [("v3.13", True), ("v3.17.6", True), ("v3.18.0", False)])
@pytest.mark.parametrize("changes", [{"calico_policies": RULES}, {"workloads": workloads(sctp=ONE)}])
def test_releases_that_drop_sctp(version: str, is_dropped: bool, changes: dict[str, Any]) -> None:
    finding = judged(features_pods.sctp, version=version, **changes)
    assert finding.status is Status.WARN
    assert ("drops it at the pods" in finding.message) is is_dropped
    assert judged(features_pods.sctp, version=version).status is Status.PASS
    remediation = judged(features_pods.sctp, version=version, services=SERVICES).remediation
    assert remediation is not None
    assert ("dropped too" in remediation.text) is is_dropped


# Floating IPs.

ASKED = workloads(floating_ips=ONE)
ENABLED, DISABLED = felix(floating_ips="Enabled"), felix(floating_ips="Disabled")


@pytest.mark.parametrize(
    ("version", "kinds", "users", "status", "words"),
    [
        ("v3.24", (ENABLED,), NONE, Status.WARN, "floatingIPs is Enabled. "),
        ("v3.32.1", (felix(floating_ips="enabled"),), NONE, Status.WARN, "floatingIPs is Enabled. "),
        ("v3.32.1", (DISABLED, ENABLED), NONE, Status.WARN, "floatingIPs is Enabled. "),
        ("v3.32.1", (ENABLED, UNSEEN), FORBIDDEN, Status.WARN, "floatingIPs is Enabled. "),
        ("v3.32.1", (ENABLED,), ASKED, Status.WARN, "floatingIPs is Enabled and 1 workload (a/b) asks for"),
        ("v3.32.1", (felix(),), ASKED, Status.PASS, "does not do even now"),
        ("v3.32.1", (DISABLED,), ASKED, Status.PASS, "does not do even now"),
        ("v3.32.1", (DISABLED,), NONE, Status.PASS, "there are no floating IPs"),
        ("v3.32.1", (felix(),), FORBIDDEN, Status.PASS, "there are no floating IPs"),
        ("v3.32.1", (NodeKind(felix=ABSENT),), NONE, Status.PASS, "there are no floating IPs"),
        ("v3.32.1", (UNSEEN,), ASKED, Status.WARN, "1 workload (a/b) asks for floating IPs"),
        ("v3.32.1", (DISABLED, UNSEEN), NONE, Status.UNKNOWN, "not allowed"),
        ("v3.22.1", (ENABLED,), NONE, Status.PASS, "No workload asks for floating IPs"),
        ("v3.22.1", (UNSEEN,), NONE, Status.PASS, "No workload asks for floating IPs"),
        ("v3.22.1", (DISABLED,), ASKED, Status.WARN, "asks for floating IPs"),
        ("v3.21.5", (DISABLED,), ASKED, Status.WARN, "asks for floating IPs"),
        ("v3.21.6", (UNSEEN,), NONE, Status.UNKNOWN, "not allowed"),
        ("v3.22.2", (UNSEEN,), NONE, Status.UNKNOWN, "not allowed"),
        ("v3.16", (felix(),), workloads(floating_ips=TWO), Status.WARN, "2 workloads (a/b, c/\\x1b[2J) ask for"),
    ],
)
def test_floating_ips(version: str, kinds: tuple[NodeKind, ...], users: Fact[Any], status: Status, words: str) -> None:
    finding = judged(features_pods.floating_ips, *kinds, version=version, workloads=users)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is ("even now" in finding.message)
    assert ("floatingIPs is Enabled" in finding.message) is (words.startswith("floatingIPs is"))
    assert finding.note or finding.severity is Severity.DEGRADE


# Allowed source prefixes.


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("v3.16", Status.WARN),
        ("v3.31.7", Status.WARN),
        ("v3.32.0", Status.NOT_APPLICABLE),
        ("v3.33", Status.NOT_APPLICABLE),
    ],
)
def test_source_prefixes(version: str, status: Status) -> None:
    asked = workloads(source_prefixes=TWO)
    finding = judged(features_pods.source_prefixes, version=version, workloads=asked)
    assert finding.status is status
    if status is Status.WARN:
        assert finding.severity is Severity.DEGRADE
        assert "drops such packets" in finding.message


# Host ports.


def operator(host_ports: str | None = "Enabled", **more: Any) -> dict[str, Any]:
    return {"installation": known(Installation(host_ports=host_ports, **more)), "install": "operator"}


@pytest.mark.parametrize(
    ("version", "is_refused"),
    [
        ("v3.18", False),
        ("v3.19.0", True),
        ("v3.19", True),
        ("v3.26.5", True),
        ("v3.26", True),
        ("v3.27.0", False),
        ("v3.32.1", False),
    ],
)
def test_releases_whose_operator_refuses_host_ports(version: str, is_refused: bool) -> None:
    finding = judged(features_pods.hostport, version=version, **operator())
    assert finding.status is (Status.FAIL if is_refused else Status.PASS)
    assert finding.severity is (Severity.BLOCKER if is_refused else Severity.DEGRADE)
    hidden = judged(features_pods.hostport, version=version, installation=FORBIDDEN, install="unknown")
    assert hidden.status is (Status.UNKNOWN if is_refused else Status.PASS)
    for install in ("manifest", "none"):
        there = judged(features_pods.hostport, version=version, installation=FORBIDDEN, install=install)
        assert there.status is Status.PASS
    for word in ("Disabled", None, "\x1b[2J"):
        assert judged(features_pods.hostport, version=version, **operator(word)).status is Status.PASS


def test_the_command_that_switches_host_ports_off() -> None:
    finding = judged(features_pods.hostport, version="v3.26", **operator())
    assert "will have none" not in finding.message
    assert finding.remediation is not None
    assert "move these workloads" not in finding.remediation.text
    (command,) = finding.remediation.commands
    patch = json.loads(shlex.split(command)[-1])
    assert patch == {"spec": {"calicoNetwork": {"hostPorts": None, "linuxDataplane": "BPF"}}}
    used = workloads(host_ports=ONE)
    finding = judged(features_pods.hostport, version="v3.26", **operator(), workloads=used)
    assert finding.status is Status.FAIL
    assert "1 workload (a/b) uses host ports, and will have none" in finding.message
    assert finding.remediation is not None
    assert "move these workloads" in finding.remediation.text


@pytest.mark.parametrize(
    ("version", "more", "status", "words"),
    [
        ("v3.26.5", operator("Disabled"), Status.WARN, "portmap"),
        ("v3.26.5", operator("Disabled", cni_type="Calico"), Status.WARN, "portmap"),
        ("v3.26.5", operator(None, cni_type="AmazonVPC"), Status.PASS, "which work in eBPF mode"),
        ("v3.24.1", operator(None, cni_type="AmazonVPC"), Status.WARN, "may fail"),
        ("v3.27.0", operator("Disabled"), Status.PASS, "which work in eBPF mode"),
        ("v3.27.0", operator(), Status.PASS, "which work in eBPF mode"),
        ("v3.26.5", {}, Status.PASS, "which work in eBPF mode"),
        ("v3.22.5", {}, Status.WARN, "may fail"),
        ("v3.23.3", {}, Status.WARN, "In eBPF mode of Calico v3.23.3"),
        ("v3.23", {}, Status.WARN, "In eBPF mode of some patches of Calico v3.23 "),
        ("v3.23.4", {}, Status.PASS, "which work in eBPF mode"),
        ("v3.24.0", {}, Status.WARN, "may fail"),
        ("v3.24.1", {}, Status.WARN, "may fail"),
        ("v3.24", {}, Status.WARN, "some patches of Calico v3.24 "),
        ("v3.24.2", {}, Status.PASS, "which work in eBPF mode"),
        ("v3.32.1", {"workloads": workloads(host_ports=TWO)}, Status.PASS, "c/\\x1b[2J) use host ports"),
    ],
)
def test_host_ports_in_use(version: str, more: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(features_pods.hostport, version=version, **{"workloads": workloads(host_ports=ONE), **more})
    assert finding.status is status
    assert words in finding.message
    assert not finding.note


KEEPS, BYPASSES = felix(bpf_host_conntrack_bypass=False), felix(bpf_host_conntrack_bypass=True)


@pytest.mark.parametrize(
    ("version", "kinds", "status"),
    [
        ("v3.23.0", (KEEPS,), Status.PASS),
        ("v3.24.1", (KEEPS,), Status.PASS),
        ("v3.24.1", (KEEPS, BYPASSES), Status.WARN),
        ("v3.24.1", (KEEPS, felix()), Status.WARN),
        ("v3.24.1", (KEEPS, UNSEEN), Status.WARN),
        ("v3.24.1", (UNSEEN,), Status.WARN),
        ("v3.22.5", (KEEPS,), Status.WARN),
        ("v3.25.0", (BYPASSES,), Status.PASS),
    ],
)
def test_what_saves_host_ports_in_broken_releases(version: str, kinds: tuple[NodeKind, ...], status: Status) -> None:
    finding = judged(features_pods.hostport, *kinds, version=version, workloads=workloads(host_ports=ONE))
    assert finding.status is status
    assert finding.note is (status is Status.PASS and KEEPS in kinds)
    if status is Status.WARN:
        assert finding.remediation is not None
        assert ("BYPASS" in finding.remediation.text) is (version != "v3.22.5")
