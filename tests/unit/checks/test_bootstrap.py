import json
import shlex
from typing import Any

import pytest

from ebpfcheck.checks import bootstrap
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.cluster import Deployment, EndpointOverride, Installation, ServiceAddress
from ebpfcheck.model.facts import Absent, Fact, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not for you")

# Calico by the operator, which is told to find the API server by itself.
SEEN: dict[str, Any] = {
    "operator": known(Deployment(namespace="tigera-operator", name="tigera-operator", image="")),
    "kubernetes_service": known(ServiceAddress(cluster_ips=("10.96.0.1",), port=443)),
    "api_endpoints": known(("192.168.0.10:6443",)),
}
HA = known(("192.168.0.10:6443", "192.168.0.11:6443"))


def config_map(host: str | None = "192.168.0.100", port: str | None = "6443", **changes: Any) -> EndpointOverride:
    whole = {"namespace": "tigera-operator", "name": "kubernetes-services-endpoint", "host": host, "port": port}
    return EndpointOverride(**{**whole, **changes})


def installation(bootstrap: str | None = None, dataplane: str | None = "BPF", provider: str | None = None) -> Fact[Any]:
    return known(Installation(bpf_network_bootstrap=bootstrap, linux_dataplane=dataplane, kubernetes_provider=provider))


def judged(*, version: str = "v3.32.1", **changes: Any) -> Finding:
    facts = {**SEEN, **changes}
    install: Install = facts.pop("install", "operator")
    finding = judged_cluster(bootstrap.api_endpoint_bootstrap, version=version, install=install, **facts)
    assert finding.status is not Status.FAIL or finding.severity is Severity.BLOCKER
    return finding


def fix(finding: Finding) -> str:
    assert finding.remediation is not None
    return finding.remediation.text


def commands(finding: Finding) -> tuple[str, ...]:
    assert finding.remediation is not None
    return finding.remediation.commands


def patch_in(finding: Finding) -> Any:
    (command,) = commands(finding)
    words = shlex.split(command)
    assert words[:2] == ["kubectl", "patch"]
    assert words[-2] == "-p"
    return json.loads(words[-1])


BOTH = {"endpoint_overrides": known((config_map(),))}
ALONE: dict[str, Any] = {"endpoint_overrides": ABSENT, "installation": installation("Enabled")}


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({}, Status.PASS, "has what it needs"),
        ({"installation": ABSENT}, Status.NOT_APPLICABLE, "no Installation"),
        ({"installation": installation(None)}, Status.PASS, "is not used"),
        ({"installation": installation("Disabled", "Iptables")}, Status.PASS, "is not used"),
        ({"installation": installation("Disabled"), **BOTH}, Status.PASS, "is not used"),
        ({"installation": installation("Enabled", "Iptables")}, Status.FAIL, "linuxDataplane is not BPF"),
        ({"installation": installation("Enabled", None)}, Status.FAIL, "linuxDataplane is not BPF"),
        (BOTH, Status.FAIL, "exclude each other"),
        ({"endpoint_overrides": known((config_map(None, None),))}, Status.FAIL, "exclude each other"),
        ({"endpoint_overrides": known((config_map(namespace="kube-system"),))}, Status.PASS, "has what it needs"),
        ({"endpoint_overrides": known((config_map(name="kubernetes-service-endpoint"),))}, Status.PASS, "it needs"),
        ({**BOTH, "install": "manifest"}, Status.FAIL, "exclude each other"),
        ({"endpoint_overrides": FORBIDDEN}, Status.UNKNOWN, "not for you"),
        ({"operator": FORBIDDEN}, Status.UNKNOWN, "not for you"),
        ({"operator": FORBIDDEN, **BOTH}, Status.FAIL, "exclude each other"),
        ({"kubernetes_service": FORBIDDEN}, Status.UNKNOWN, "not for you"),
        ({"api_endpoints": FORBIDDEN}, Status.UNKNOWN, "not for you"),
        ({"kubernetes_service": ABSENT}, Status.FAIL, "is not there or has no endpoints"),
        ({"api_endpoints": ABSENT}, Status.FAIL, "is not there or has no endpoints"),
        ({"api_endpoints": known(())}, Status.FAIL, "is not there or has no endpoints"),
        ({"api_endpoints": HA}, Status.PASS, "has what it needs"),
        ({"installation": installation("Enabled", "BPF", "EKS")}, Status.WARN, "on EKS"),
        ({"installation": installation("Enabled", "BPF", "")}, Status.PASS, "has what it needs"),
        ({"installation": FORBIDDEN}, Status.UNKNOWN, "not for you"),
    ],
)
def test_the_operators_own_way(facts: dict[str, Any], status: Status, words: str) -> None:
    finding = judged(version="v3.31.7", **{**ALONE, **facts})
    assert finding.status is status
    assert words in finding.message
    assert (finding.remediation is not None) or status not in (Status.FAIL, Status.WARN)


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("v3.31.0", Status.WARN, "Calico v3.31.0 forgets"),
        ("v3.31.6", Status.WARN, "Calico v3.31.6 forgets"),
        ("v3.31", Status.WARN, "Calico v3.31 in some of its patches forgets"),
        ("v3.31.7", Status.PASS, ""),
        ("v3.32.0", Status.WARN, "Calico v3.32.0 forgets"),
        ("v3.32.1", Status.WARN, "Calico v3.32.1 forgets"),
        ("v3.32", Status.WARN, "in some of its patches"),
        ("v3.32.2", Status.PASS, ""),
        ("v3.33", Status.PASS, ""),
    ],
)
def test_releases_that_lose_the_api_server(version: str, status: Status, words: str) -> None:
    finding = judged(version=version, **ALONE)
    assert finding.status is status
    assert words in finding.message


@pytest.mark.parametrize(
    ("asked", "observed"),
    [
        (installation(None), "not set"),
        (installation("Disabled"), "Disabled"),
        (installation("Enabled", None), "bpfNetworkBootstrap: Enabled, linuxDataplane: not set"),
        (installation("Enabled", "VPP"), "bpfNetworkBootstrap: Enabled, linuxDataplane: VPP"),
    ],
)
def test_what_was_asked_is_shown(asked: Fact[Any], observed: str) -> None:
    assert judged(**{**ALONE, "installation": asked}).observed == observed


def test_the_commands_against_a_mixed_state() -> None:
    asked = installation("Enabled", "Iptables")
    finding = judged(**{**ALONE, "installation": asked})
    assert patch_in(finding) == {"spec": {"calicoNetwork": {"bpfNetworkBootstrap": "Disabled"}}}
    # The ConfigMap has an address that works: it stays.
    finding = judged(**{**ALONE, **BOTH})
    assert patch_in(finding) == {"spec": {"calicoNetwork": {"bpfNetworkBootstrap": "Disabled"}}}
    assert fix(finding).startswith("Set it to Disabled")


@pytest.mark.parametrize(
    ("version", "concerns"), [("v3.30", False), ("v3.30.9", False), ("v3.31", True), ("v3.31.0", True)]
)
def test_the_releases(version: str, concerns: bool) -> None:
    assert (judged(version=version, **ALONE).status is not Status.NOT_APPLICABLE) is concerns


def test_nothing_known() -> None:
    for minor in load_knowledge().minors():
        finding = judged_cluster(bootstrap.api_endpoint_bootstrap, version=str(minor))
        assert finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE)


def test_all_that_is_needed_is_said_once() -> None:
    findings = [
        judged(version="v3.31.7", **{**ALONE, **facts})
        for facts in ({}, BOTH, {"installation": installation("Enabled", None)}, {"api_endpoints": ABSENT})
    ]
    assert len({finding.required for finding in findings}) == 1
    assert findings[0].status is Status.PASS


def test_hostile_text_is_shown_safely() -> None:
    bad = "\x1b[2J\u202e'; rm -rf / #" + "x" * 3000
    asked = known(Installation(bpf_network_bootstrap="Enabled", linux_dataplane=bad, kubernetes_provider=bad))
    operator = known(Deployment(namespace=bad, name=bad, image=bad))
    there = known((config_map(namespace=bad),))
    whole = known(Installation(bpf_network_bootstrap="Enabled", linux_dataplane="BPF", kubernetes_provider=bad))
    for one in (asked, whole):
        finding = judged(installation=one, operator=operator, endpoint_overrides=there)
        shown = finding.message + finding.observed + finding.required
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert len(shown) < 1500
        assert all("rm" not in shlex.split(command) for command in commands(finding))
