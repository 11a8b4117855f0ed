from typing import Any

import pytest

from ebpfcheck.checks import naming, services
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import AddOn, Services, Users
from ebpfcheck.model.facts import Absent, FelixSettings, Install, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, kind, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list services")
CHECKS = (services.local_policy, services.features)
TWO = Users(count=2, examples=("web/front", "web/back"))
ONE = Users(count=1, examples=("iot/broker",))


def users(count: int) -> Users:
    return Users(count=count, examples=tuple(f"ns/svc-{number}" for number in range(min(count, 5))))


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        assert judged_cluster(check, kind(), version=str(minor), install=install).status is Status.UNKNOWN
    assert judged_cluster(check, services=FORBIDDEN).status is Status.UNKNOWN
    assert "not allowed" in judged_cluster(check, services=FORBIDDEN).message


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
def test_plain_services_are_no_news_at_any_release(check: Check) -> None:
    plain = known(Services(count=9, ports=12, load_balancers=TWO, of_node_ports=TWO))
    for minor in load_knowledge().minors():
        finding = judged_cluster(check, services=plain, version=str(minor))
        assert finding.status is Status.PASS
        assert not finding.note


# Services for local endpoints only.


def local(version: str = "v3.32.1", *kinds: Any, add_ons: Any = ABSENT, **tags: Any) -> Finding:
    found = known(Services(count=5, **tags))
    return judged_cluster(services.local_policy, *kinds, services=found, add_ons=add_ons, version=version)


@pytest.mark.parametrize(
    ("version", "tags", "status", "words"),
    [
        ("v3.32.1", {"external_local": TWO}, Status.PASS, "heeds the policy"),
        ("v3.32.1", {"health_checked": TWO}, Status.PASS, "2 with a health port: Felix v3.32.1"),
        ("v3.27.1", {"health_checked": TWO}, Status.PASS, "heeds the policy"),
        ("v3.27.0", {"health_checked": TWO}, Status.WARN, "does not stop the old ones"),
        ("v3.26.5", {"health_checked": TWO}, Status.WARN, "Upgrade to v3.27.1 or later"),
        ("v3.27", {"health_checked": TWO}, Status.UNKNOWN, "The patch of Calico v3.27 decides"),
        ("v3.27", {"external_local": TWO}, Status.PASS, "heeds the policy"),
        ("v3.26", {"external_local": TWO}, Status.PASS, "heeds the policy"),
        ("v3.22", {"external_local": TWO}, Status.PASS, "heeds the policy"),
        ("v3.21.6", {"external_local": TWO}, Status.WARN, "from inside of the cluster too"),
        ("v3.13", {"external_local": TWO}, Status.WARN, "v3.22.0 or later"),
        ("v3.21", {"external_local": TWO, "health_checked": ONE}, Status.WARN, "1 Service (iot/broker): Felix v3.21"),
    ],
)
def test_the_policy_by_release(version: str, tags: dict[str, Users], status: Status, words: str) -> None:
    finding = local(version, **tags)
    assert finding.status is status
    assert words in finding.message
    assert finding.note is (status is Status.PASS)
    assert finding.severity is (Severity.NOTE if finding.note else Severity.DEGRADE)
    assert finding.remediation is not None


def test_the_test_plan() -> None:
    for version, start in (("v3.32.1", "For one of these"), ("v3.26", "Upgrade Calico to v3.27.1 or later before")):
        remediation = local(version, health_checked=ONE).remediation
        assert remediation is not None
        assert remediation.text.startswith(start)
        assert "answers 200 and that of any other node 503" in remediation.text
        assert remediation.commands == (
            'kubectl get services -A -o jsonpath=\'{range .items[?(@.spec.externalTrafficPolicy=="Local")]}'
            "{.metadata.namespace}/{.metadata.name} health={.spec.healthCheckNodePort} "
            'nodePorts={.spec.ports[*].nodePort}{"\\n"}{end}\'',
            "curl -si http://NODE-ADDRESS:HEALTH-PORT/healthz",
        )


@pytest.mark.parametrize(
    ("add_ons", "provider", "words"),
    [
        (
            known((AddOn(program="metallb", namespace="m", name="speaker"),)),
            ABSENT,
            "load balancers: MetalLB (MetalLB has to",
        ),
        (known((AddOn(program="kube-vip", namespace="m", name="kube-vip"),)), known("aws"), "svc_election"),
        (
            known((AddOn(program="istiod", namespace="m", name="istiod"),)),
            ABSENT,
            "What implements load balancers here",
        ),
        (ABSENT, known("gce"), "The load balancers of Google Cloud ask the health ports"),
        (FORBIDDEN, ABSENT, "What implements load balancers here is not seen"),
        (ABSENT, known("vsphere"), "What implements load balancers here is not seen"),
    ],
)
def test_who_implements_load_balancers(add_ons: Any, provider: Any, words: str) -> None:
    finding = local("v3.32.1", kind(provider=provider), add_ons=add_ons, external_local=TWO, health_checked=TWO)
    assert finding.status is Status.PASS
    assert words in finding.message
    # Without a load balancer nobody asks health ports.
    finding = local("v3.32.1", kind(provider=provider), add_ons=add_ons, external_local=TWO)
    assert words not in finding.message
    assert "health" not in finding.message
    assert finding.remediation is not None
    assert len(finding.remediation.commands) == 1


@pytest.mark.parametrize(
    ("zones", "status"),
    [(known(0), Status.PASS), (known(1), Status.PASS), (known(2), Status.WARN), (ABSENT, Status.WARN)],
)
def test_where_there_is_one_zone_nothing_is_lost(zones: Any, status: Status) -> None:
    asked = known(Services(traffic_distribution=ONE))
    finding = judged_cluster(services.features, services=asked, zones=zones, version="v3.31.4")
    assert finding.status is status
    # Other fields are not about zones.
    asked = known(Services(internal_local=ONE))
    assert judged_cluster(services.features, services=asked, zones=zones, version="v3.26.4").status is Status.WARN


def test_that_nothing_is_asked_for_is_not_that_it_is_heeded() -> None:
    assert "No Service asks for" in fields().message
    assert "heeds what these Services ask for" in fields(internal_local=ONE).message
    assert fields(internal_local=ONE).observed == "internalTrafficPolicy: Local of 1 Service (iot/broker)"


def test_names_are_few_and_harmless() -> None:
    hostile = Users(count=1, examples=("x\x1b[31m/y",))
    for message in (local(external_local=hostile).message, local("v3.20", external_local=hostile).message):
        assert "\x1b" not in message
        assert "x\\x1b[31m/y" in message
    assert "(ns/svc-0, ns/svc-1, ns/svc-2 and 4 more)" in local(external_local=users(7)).message
    assert "(ns/svc-0, ns/svc-1, ns/svc-2)" in local(external_local=users(3)).message
    assert "and 1 more" in local(external_local=Users(count=2, examples=("a/b",))).message
    assert naming.named(Users(count=4)) == ""


# Fields of Services.


def fields(version: str = "v3.32.1", *kinds: Any, **tags: Any) -> Finding:
    asked = known(Services(count=5, **tags))
    return judged_cluster(services.features, *kinds, services=asked, zones=known(3), version=version)


@pytest.mark.parametrize(
    ("tag", "version", "status"),
    [
        ("internal_local", "v3.26.5", Status.PASS),
        ("internal_local", "v3.27", Status.PASS),
        ("internal_local", "v3.26.4", Status.WARN),
        ("internal_local", "v3.26", Status.UNKNOWN),
        ("internal_local", "v3.25", Status.WARN),
        ("internal_local", "v3.13", Status.WARN),
        ("traffic_distribution", "v3.32", Status.PASS),
        ("traffic_distribution", "v3.31.5", Status.PASS),
        ("traffic_distribution", "v3.31.4", Status.WARN),
        ("traffic_distribution", "v3.31", Status.UNKNOWN),
        ("traffic_distribution", "v3.30", Status.WARN),
        ("maglev", "v3.31.7", Status.WARN),
        ("maglev", "v3.31", Status.WARN),
    ],
)
def test_fields_by_release(tag: str, version: str, status: Status) -> None:
    finding = fields(version, **{tag: TWO})
    assert finding.status is status
    assert not finding.note
    assert finding.severity is Severity.DEGRADE
    if status is not Status.PASS:
        assert "2 Services (web/front, web/back)" in finding.message


def test_all_that_is_not_heeded_is_told_at_once() -> None:
    finding = fields("v3.26.4", internal_local=ONE, traffic_distribution=TWO)
    assert "internalTrafficPolicy: Local of 1 Service (iot/broker) is not heeded for ClusterIPs" in finding.message
    assert "trafficDistribution of 2 Services" in finding.message
    assert "v3.31.5 or later" in finding.message
    # What is certain comes before what the patch decides.
    finding = fields("v3.31", maglev=ONE, traffic_distribution=TWO)
    assert finding.status is Status.WARN
    assert "trafficDistribution" not in finding.message
    assert fields("v3.26.4", internal_local=ONE).fingerprint != fields("v3.26.4", maglev=ONE).fingerprint


DSR = kind(felix=known(FelixSettings(bpf_external_service_mode="DSR")))
TUNNEL = kind(felix=known(FelixSettings()))


@pytest.mark.parametrize(
    ("kinds", "status", "words"),
    [
        ((DSR,), Status.PASS, "direct server return is on"),
        ((kind(felix=known(FelixSettings(bpf_external_service_mode="dsr"))),), Status.PASS, "is on"),
        ((TUNNEL,), Status.WARN, "1 of 1 nodes are not told"),
        ((DSR, TUNNEL), Status.WARN, "1 of 2 nodes are not told"),
        ((kind(felix=ABSENT),), Status.WARN, "1 of 1 nodes"),
        ((kind(felix=FORBIDDEN),), Status.UNKNOWN, "not allowed"),
        ((kind(felix=FORBIDDEN), TUNNEL), Status.WARN, "1 of 1 nodes"),
        ((kind(felix=FORBIDDEN), DSR), Status.UNKNOWN, "not allowed"),
        ((), Status.UNKNOWN, "no node was seen"),
    ],
)
def test_maglev_needs_direct_server_return(kinds: tuple[Any, ...], status: Status, words: str) -> None:
    finding = fields("v3.32.1", *kinds, maglev=ONE)
    assert finding.status is status
    assert words in finding.message


def test_hostile_names_of_fields() -> None:
    assert "\x1b" not in fields("v3.20", internal_local=Users(count=1, examples=("a\x1b]0;x",))).message
