import re
from typing import Any

import pytest

from ebpfcheck.checks import features, features_ipv6, features_pods
from ebpfcheck.checks.naming import counted
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.check import Check
from ebpfcheck.model.cluster import CalicoPolicies, HostEndpoints, Users
from ebpfcheck.model.facts import Absent, Fact, FelixSettings, Install, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Finding, Severity, Status
from tests.builders import judged_cluster, known

ABSENT = Absent(source=0)
FORBIDDEN = Unknown(reason=Reason.FORBIDDEN, detail="not allowed to list these")
CHECKS = (
    features.host_endpoints,
    features.log_action,
    features.do_not_track,
    features_ipv6.ipv6,
    features_pods.sctp,
    features_pods.floating_ips,
    features_pods.source_prefixes,
    features_pods.hostport,
)


@pytest.mark.parametrize("check", CHECKS, ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("install", ["operator", "manifest", "none", "unknown"])
def test_nothing_known_is_no_answer(check: Check, install: Install) -> None:
    for minor in load_knowledge().minors():
        for kinds in ((), (NodeKind(),)):
            finding = judged_cluster(check, *kinds, version=str(minor), install=install)
            assert finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE), (check.id, minor)
            assert not re.search(r"IPv[46] is in use", finding.message), finding.message


def users(*names: str, count: int = 0) -> Users:
    return Users(count=count or len(names), examples=names[:5])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Users(count=1, examples=("a/b",)), "1 Service (a/b)"),
        (Users(count=2, examples=("a/b", "c/d")), "2 Services (a/b, c/d)"),
        (Users(count=3, examples=("a", "b", "c")), "3 Services (a, b, c)"),
        (Users(count=9, examples=("a", "b", "c", "d", "e")), "9 Services (a, b, c and 6 more)"),
        (Users(count=2, examples=("a",)), "2 Services (a and 1 more)"),
        (Users(count=4), "4 Services"),
        (Users(count=1, examples=("\x1b[2J",)), "1 Service (\\x1b[2J)"),
    ],
)
def test_how_users_are_told(given: Users, told: str) -> None:
    assert counted(given, "Service") == told
    assert counted(given, "thing", "x").startswith("1 thing" if given.count == 1 else f"{given.count} x")


# Host endpoints.


def endpoints(own: Users | None = None, automatic: int = 0, auto: Fact[Any] = ABSENT, **more: Any) -> Finding:
    found = known(HostEndpoints(automatic=automatic, own=own or Users()))
    facts = {"host_endpoints": found, "auto_host_endpoints": auto, "version": "v3.17", **more}
    return judged_cluster(features.host_endpoints, **facts)


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({}, Status.PASS, "no host endpoints"),
        ({"auto": known("Disabled")}, Status.PASS, "no host endpoints"),
        ({"host_endpoints": ABSENT}, Status.PASS, "no host endpoints"),
        ({"own": users("eth0-a")}, Status.FAIL, "1 HostEndpoint (eth0-a)"),
        ({"own": users("a", "b"), "automatic": 3, "auto": FORBIDDEN}, Status.FAIL, "2 HostEndpoints (a, b)"),
        ({"own": users("\x1b[2J")}, Status.FAIL, "\\x1b[2J"),
        ({"automatic": 3, "auto": known("Enabled")}, Status.WARN, "for each node"),
        ({"automatic": 3, "auto": FORBIDDEN}, Status.WARN, "for each node"),
        ({"auto": known("Enabled")}, Status.WARN, "for each node"),
        ({"auto": FORBIDDEN}, Status.UNKNOWN, "not allowed"),
        ({"host_endpoints": FORBIDDEN, "auto": known("Enabled")}, Status.UNKNOWN, "not allowed"),
    ],
)
def test_host_endpoints(facts: dict[str, Any], status: Status, words: str) -> None:
    finding = endpoints(**facts)
    assert finding.status is status
    assert words in finding.message
    assert finding.severity is Severity.BLOCKER


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("v3.13", Status.FAIL),
        ("v3.16", Status.FAIL),
        ("v3.17.6", Status.FAIL),
        ("v3.18.0", Status.NOT_APPLICABLE),
        ("v3.18", Status.NOT_APPLICABLE),
        ("v3.32.1", Status.NOT_APPLICABLE),
    ],
)
def test_releases_without_host_endpoints(version: str, status: Status) -> None:
    assert endpoints(users("eth0"), version=version).status is status


# The action Log.


def logging(found: Users | None, version: str, **more: Any) -> Finding:
    policies = ABSENT if found is None else known(CalicoPolicies(count=9, log=found))
    return judged_cluster(features.log_action, version=version, **{"calico_policies": policies, **more})


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("v3.13", Status.FAIL, "lose all traffic"),
        ("v3.16.10", Status.FAIL, "lose all traffic"),
        ("v3.17.3", Status.FAIL, "lose all traffic"),
        ("v3.17", Status.UNKNOWN, "before v3.17.4"),
        ("v3.17.4", Status.WARN, "eBPF mode of Calico v3.17.4 leaves such rules out"),
        ("v3.18", Status.WARN, "leaves such rules out"),
        ("v3.28.5", Status.WARN, "leaves such rules out"),
        ("v3.29.0", Status.WARN, "leaves such rules out"),
        ("v3.29", Status.WARN, "eBPF mode of Calico v3.29 before v3.29.1 leaves such rules out"),
        ("v3.29.1", Status.PASS, "trace pipe"),
        ("v3.32.1", Status.PASS, "trace pipe"),
    ],
)
def test_the_action_log(version: str, status: Status, words: str) -> None:
    finding = logging(users("default/log-it"), version)
    assert finding.status is status
    assert words in finding.message
    assert "1 policy (default/log-it) of Calico's has rules" in finding.message
    assert finding.note is (status is Status.PASS)
    calm = logging(users(), version)
    assert calm.status is Status.PASS
    assert not calm.note
    assert logging(None, version).status is Status.PASS
    assert logging(None, version, calico_policies=FORBIDDEN).status is Status.UNKNOWN
    expected = Severity.DEGRADE if status in (Status.WARN, Status.PASS) else Severity.BLOCKER
    assert calm.severity is expected


def test_names_of_policies_are_shown_safely() -> None:
    finding = logging(users("a/\x1b[2J", "b/c"), "v3.28")
    assert "2 policies (a/\\x1b[2J, b/c) of Calico's have rules" in finding.message


# doNotTrack.


def felix(*settings: bool | None) -> tuple[NodeKind, ...]:
    return tuple(NodeKind(felix=known(FelixSettings(ipv6_support=one))) for one in settings)


def untracked(found: Users, version: str, *kinds: NodeKind, **more: Any) -> Finding:
    facts = {"calico_policies": known(CalicoPolicies(count=9, do_not_track=found)), **more}
    return judged_cluster(features.do_not_track, *kinds, version=version, **facts)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("v3.17", Status.NOT_APPLICABLE),
        ("v3.18", Status.WARN),
        ("v3.20.6", Status.WARN),
        ("v3.21.0", Status.NOT_APPLICABLE),
        ("v3.26", Status.NOT_APPLICABLE),
        ("v3.27.0", Status.WARN),
        ("v3.27.5", Status.WARN),
        ("v3.28.0", Status.NOT_APPLICABLE),
        ("v3.32.1", Status.NOT_APPLICABLE),
    ],
)
def test_releases_that_do_not_enforce_untracked_policies(version: str, status: Status) -> None:
    finding = untracked(users("guard"), version, *felix(True))
    assert finding.status is status
    if status is Status.WARN:
        assert "There is 1 policy (guard) with doNotTrack" in finding.message
        assert "There are 2 policies" in untracked(users("a", "b"), version, *felix(True)).message
        assert untracked(users(), version, *felix(True)).status is Status.PASS
        assert untracked(users(), version, calico_policies=ABSENT).status is Status.PASS
        assert untracked(users(), version, calico_policies=FORBIDDEN).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("kinds", "status", "words"),
    [
        (felix(False), Status.PASS, "enforced for IPv4"),
        (felix(False, None), Status.WARN, "none of them"),
        (felix(None), Status.WARN, "none of them"),
        ((NodeKind(felix=ABSENT),), Status.WARN, "none of them"),
        ((NodeKind(felix=FORBIDDEN),), Status.UNKNOWN, "not allowed"),
        ((*felix(False), NodeKind(felix=FORBIDDEN)), Status.UNKNOWN, "not allowed"),
        ((*felix(True), NodeKind(felix=FORBIDDEN)), Status.WARN, "none of them"),
        ((), Status.UNKNOWN, "no node was seen"),
    ],
)
def test_the_release_that_enforces_them_for_ipv4_alone(kinds: tuple[NodeKind, ...], status: Status, words: str) -> None:
    finding = untracked(users("guard"), "v3.27", *kinds)
    assert finding.status is status
    assert words in finding.message
    assert untracked(users("guard"), "v3.20", *kinds).status is Status.WARN
