from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from ebpfcheck.engine import decide, judge, summarize
from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import (
    Check,
    Given,
    Outcome,
    check,
    fail,
    first_of,
    of_cluster,
    optional,
    passed,
    required,
    settled,
    unknown,
    warn,
)
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import Absent, Known, NodeKind, Reason, Unknown
from ebpfcheck.model.report import Coverage, Remediation, Severity, Status, Verdict
from ebpfcheck.model.snapshot import Snapshot, Unseen
from tests.builders import kind, known, release, snapshot

ARCH = required(NodeKind.arch)
RELEASE = release("v3.32.1")


def checking(
    judge_with: Callable[[Given], Outcome], severity: Severity = Severity.BLOCKER, id: str = "test.check"
) -> Check:
    return check(id=id, title="A check", category="test", severity=severity, needs=(ARCH,))(judge_with)


def test_nodes_that_share_an_outcome_share_a_finding() -> None:
    seen: list[str] = []

    def judge_with(given: Given) -> Outcome:
        seen.append(given[ARCH])
        return passed("ok", "good") if given[ARCH] == "x86_64" else fail("bad", f"bad {given[ARCH]}")

    kinds = (
        kind(arch=known("x86_64"), init=known("systemd")),
        kind(arch=known("s390x")),
        kind(arch=known("x86_64"), init=known("runit")),
    )
    findings = judge(snapshot(*kinds, names=("a", "b", "c")), (checking(judge_with),), RELEASE, "unknown")
    assert [(finding.status, finding.subjects) for finding in findings] == [
        (Status.PASS, ("a", "c")),
        (Status.FAIL, ("b",)),
    ]
    assert seen == ["x86_64", "s390x"], "each distinct set of needed facts is judged once"


def test_a_check_of_a_node_may_ask_for_a_fact_of_its_cluster() -> None:
    pods = of_cluster(ClusterFacts.pod_count)

    @check(id="t", title="T", category="t", severity=Severity.BLOCKER, needs=(ARCH, pods))
    def both(given: Given) -> Outcome:
        count = given[pods]
        return passed("ok", f"{given[ARCH]} {count.value if isinstance(count, Known) else 'untold'}")

    one = snapshot(kind(arch=known("x86_64")))
    whole = msgspec.structs.replace(one, cluster=ClusterFacts(pod_count=known(7)))
    assert [judge(each, (both,), RELEASE, "none")[0].message for each in (one, whole)] == ["x86_64 untold", "x86_64 7"]
    (finding,) = judge(whole, (both,), RELEASE, "none")
    assert [entry.fact for entry in finding.evidence] == ["pod_count", "arch"]


def test_what_should_run_is_told_to_checks() -> None:
    told: list[str] = []

    def judge_with(given: Given) -> Outcome:
        told.append(given.expect)
        return passed("ok", "good")

    one = snapshot(kind(arch=known("x86_64")))
    judge(one, (checking(judge_with),), RELEASE, "none")
    judge(one, (checking(judge_with),), RELEASE, "none", "nftables")
    assert told == ["bpf", "nftables"]


def test_findings_carry_evidence_with_its_source() -> None:
    (finding,) = judge(snapshot(kind(arch=known("vax"))), (checking(lambda _: passed("ok", "good")),), RELEASE, "none")
    (evidence,) = finding.evidence
    assert (evidence.fact, evidence.value) == ("arch", "vax")
    assert evidence.source is not None
    assert evidence.source.locator == "/test/0"


def test_the_fingerprint_names_the_cause_not_the_subjects() -> None:
    def print_of(cause: str, name: str) -> str:
        found = judge(
            snapshot(kind(arch=known("x")), names=(name,)), (checking(lambda _: fail(cause, name)),), RELEASE, "none"
        )
        return found[0].fingerprint

    assert print_of("a", "node-1") == print_of("a", "node-2")
    assert print_of("a", "node-1") != print_of("b", "node-1")


@pytest.mark.parametrize("fact", [Unknown(reason=Reason.TIMEOUT, detail="too slow"), Absent(source=0)])
def test_a_required_fact_that_is_not_there_is_unknown(fact: Unknown | Absent) -> None:
    (finding,) = judge(snapshot(kind(arch=fact)), (checking(lambda _: passed("ok", "good")),), RELEASE, "none")
    assert finding.status is Status.UNKNOWN
    assert finding.reason is (fact.reason if isinstance(fact, Unknown) else Reason.NOT_COLLECTED)


def test_needs_are_unwrapped_as_they_were_asked_for() -> None:
    ladder = first_of(NodeKind.proc_version, NodeKind.kernel_release)
    btf, init = settled(NodeKind.vmlinux_btf), optional(NodeKind.init)
    got: list[object] = []

    @check(id="t", title="t", category="t", severity=Severity.NOTE, needs=(ladder, btf, init))
    def probe(given: Given) -> Outcome:
        got.extend((given[ladder].fact, given[ladder].value, given[btf], given[init]))
        return passed("ok", "ok")

    facts = kind(kernel_release=known("6.1"), vmlinux_btf=Absent(source=0))
    judge(snapshot(facts), (probe,), RELEASE, "none")
    assert got[:3] == ["kernel_release", "6.1", Absent(source=0)]
    assert isinstance(got[3], Unknown)
    (finding,) = judge(snapshot(kind(vmlinux_btf=known(True))), (probe,), RELEASE, "none")
    assert finding.status is Status.UNKNOWN


def broken(given: Given) -> Outcome:
    raise RuntimeError(f"\x1b[31m{given[ARCH]}")


@pytest.mark.parametrize(
    "judge_with",
    [
        broken,
        lambda _: None,
        lambda given: given[required(NodeKind.init)],
        lambda _: Outcome(status=Status.PASS, cause="c", message=None),  # type: ignore[arg-type]
        lambda _: Outcome(status=Status.UNKNOWN, cause="c", message="no reason"),
        lambda _: Outcome(status="fine", cause="c", message="m"),  # type: ignore[arg-type]
    ],
)
def test_a_broken_check_is_contained(judge_with: Callable[[Given], Outcome]) -> None:
    checks = (checking(judge_with), checking(lambda _: passed("ok", "good"), id="test.other"))
    first, second = judge(snapshot(kind(arch=known("x"))), checks, RELEASE, "none")
    assert first.status is Status.UNKNOWN
    assert "The check itself failed" in first.message
    assert first.message.isprintable()
    assert second.status is Status.PASS


def test_lists_of_commands_are_taken_for_tuples() -> None:
    fix = Remediation(text="do", commands=["a", "b"])  # type: ignore[arg-type]
    (finding,) = judge(
        snapshot(kind(arch=known("x"))), (checking(lambda _: warn("w", "w", remediation=fix)),), RELEASE, "none"
    )
    assert finding.remediation is not None
    assert finding.remediation.commands == ("a", "b")


def test_a_need_that_is_no_fact_is_unknown() -> None:
    version = required(ClusterFacts.calico_version)
    made = check(id="t", title="t", category="t", severity=Severity.NOTE, needs=(version,))(lambda _: passed("p", "p"))
    (finding,) = judge(snapshot(kind()), (made,), RELEASE, "none")
    assert (finding.status, finding.reason) == (Status.UNKNOWN, Reason.UNSUPPORTED)


def test_a_check_whose_severity_breaks_counts_as_a_blocker() -> None:
    def severity(_: Release) -> Severity:
        raise KeyError("x")

    made = check(id="t", title="t", category="t", severity=severity, needs=(ARCH,))(lambda _: passed("ok", "ok"))
    (finding,) = judge(snapshot(kind(arch=known("x"))), (made,), RELEASE, "none")
    assert (finding.status, finding.severity) == (Status.UNKNOWN, Severity.BLOCKER)


def test_cluster_checks_have_the_cluster_for_a_subject() -> None:
    version = required(ClusterFacts.calico_version)
    made = check(id="cluster.t", title="t", category="t", scope="cluster", severity=Severity.NOTE, needs=(version,))(
        lambda given: passed("ok", given[version])
    )
    bare = snapshot()
    (finding,) = judge(bare, (made,), RELEASE, "none")
    assert (finding.status, finding.subjects) == (Status.UNKNOWN, ("cluster",))
    seen = Snapshot(
        tool_version="t",
        taken_at=datetime.now(UTC),
        sources=snapshot(kind()).sources,
        cluster=ClusterFacts(calico_version=Known(value="v3.29.1", source=0)),
    )
    (finding,) = judge(seen, (made,), RELEASE, "none")
    assert finding.message == "v3.29.1"


def test_what_a_node_says_is_shown_not_acted_on() -> None:
    hostile = "\x1b[2J[red]\x00\u202e"
    made = checking(
        lambda given: warn(
            "w",
            given[ARCH],
            observed=given[ARCH],
            required=given[ARCH],
            remediation=Remediation(text=given[ARCH], commands=(given[ARCH],)),
        )
    )
    (finding,) = judge(snapshot(kind(arch=known(hostile)), names=(hostile,)), (made,), RELEASE, "none")
    assert finding.remediation is not None
    texts = (
        finding.message,
        finding.observed,
        finding.required,
        finding.remediation.text,
        finding.remediation.commands[0],
        finding.subjects[0],
        finding.evidence[0].value,
    )
    assert set(texts) == {"\\x1b[2J[red]\\x00\\u202e"}


SEEN = Coverage(nodes_total=1, nodes_surveyed=1)
UNSEEN = Coverage(
    nodes_total=2, nodes_surveyed=1, unseen=(Unseen(name="b", reason=Reason.TIMEOUT, detail="no answer"),)
)
NOBODY = Coverage(nodes_total=0, nodes_surveyed=0)


def lost(_: Given) -> Outcome:
    return unknown("u", "u", reason=Reason.FORBIDDEN)


@pytest.mark.parametrize(
    ("checks", "coverage", "verdict"),
    [
        ((checking(lambda _: passed("p", "p")),), SEEN, Verdict.READY),
        ((checking(lambda _: passed("p", "p")),), UNSEEN, Verdict.INCONCLUSIVE),
        ((checking(lambda _: warn("w", "w")),), SEEN, Verdict.READY_WITH_WARNINGS),
        ((checking(lost),), SEEN, Verdict.INCONCLUSIVE),
        ((checking(lost, Severity.DEGRADE),), SEEN, Verdict.READY),
        ((checking(lost), checking(lambda _: fail("f", "f"), id="t.f")), SEEN, Verdict.NOT_READY),
        ((checking(lambda _: warn("w", "w")), checking(lost, id="t.l")), SEEN, Verdict.INCONCLUSIVE),
        ((), NOBODY, Verdict.INCONCLUSIVE),
    ],
)
def test_the_verdict(checks: tuple[Check, ...], coverage: Coverage, verdict: Verdict) -> None:
    findings = judge(snapshot(kind(arch=known("x"))), checks, RELEASE, "none")
    assert decide(findings, coverage) is verdict


def test_checks_that_did_not_load_leave_it_open() -> None:
    findings = judge(snapshot(kind(arch=known("x"))), (checking(lambda _: passed("p", "p")),), RELEASE, "none")
    assert decide(findings, SEEN, checks_lost=True) is Verdict.INCONCLUSIVE


def test_the_summary_counts_every_finding() -> None:
    checks = (
        checking(lambda _: passed("p", "p"), id="a"),
        checking(lambda _: warn("w", "w"), id="b"),
        checking(lost, id="c"),
    )
    summary = summarize(judge(snapshot(kind(arch=known("x"))), checks, RELEASE, "none"))
    assert (summary.passed, summary.warn, summary.unknown, summary.fail) == (1, 1, 1, 0)
