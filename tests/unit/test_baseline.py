"""A baseline: what it takes for known, and that it loses nothing."""

import json
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given

from ebpfcheck.app import Judge
from ebpfcheck.engine import decide
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import FailOn, exit_code
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.codec import ReportError, decode_report, decode_snapshot, encode_json
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import CalicoTarget, Coverage, Finding, Report, Status
from ebpfcheck.model.snapshot import Snapshot, Unseen
from ebpfcheck.policy.baseline import Baseline, compare, remarks, without_known
from ebpfcheck.settings import Settings
from tests.builders import ROOT, facts, finding, kind, known, snapshot
from tests.unit.test_waivers import FINDINGS, addresses

NOW = datetime(2027, 1, 1, tzinfo=UTC)
WHOLE = Coverage(nodes_total=2, nodes_surveyed=2)
EMPTY = Judge(Settings()).report(snapshot(facts().kind), "evaluate", NOW)
P, W, F, U, N = Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.NOT_APPLICABLE
# What was -> what is, of the same cause where that matters: all that is no worse.
KNOWN = {(F, F), (F, W), (W, W), (U, U)}


def report(*findings: Finding) -> Report:
    return msgspec.structs.replace(EMPTY, findings=findings)


@pytest.mark.parametrize("fail_on", ["fail", "warn", "never"])
@pytest.mark.parametrize("cause", ["cause", "another"])
@pytest.mark.parametrize("now", list(Status))
@pytest.mark.parametrize("before", [*Status, None])
def test_what_was_against_what_is(before: Status | None, now: Status, cause: str, fail_on: FailOn) -> None:
    earlier = report(*([finding(before, "n1", cause=cause)] if before else []))
    done = compare([finding(now, "n1", "n2")], earlier)
    wrong = now in (F, W, U)
    is_known = (before, now) in KNOWN and (cause == "cause" or now is U or (before, now) == (F, W))
    assert {name for one in done.findings if one.in_baseline for name in one.subjects} == (
        {"n1"} if is_known else set()
    )
    assert (done.known, done.new) == (is_known, 2 * wrong - is_known)
    # n2 is new whatever n1 was, and n1 alone where it is not.
    alone = [one for one in compare([finding(now, "n1")], earlier).findings if not one.in_baseline]
    code = {(F, "fail"): 1, (F, "warn"): 1, (U, "fail"): 3, (U, "warn"): 3, (W, "warn"): 4}.get((now, fail_on), 0)
    assert exit_code(decide(alone, WHOLE), fail_on) == (0 if is_known else code)


@pytest.mark.parametrize("status", [F, W])
@pytest.mark.parametrize(
    ("before", "now", "is_known"),
    [
        ("", "", True),
        ("1 Service (a/b)", "1 Service (a/b)", True),
        ("1 Service (a/b)", "40 Services (a/b, a/c and 38 more)", False),
        ("Debug on 5 of 5 nodes", "Debug on 7 of 7 nodes", True),
        ("Debug on 2 of 5 nodes", "Debug on 2 of 7 nodes", True),
        ("Debug on 2 of 5 nodes", "Debug on 3 of 5 nodes", False),
        ("Debug on 2 of 5 nodes", "Debug on 5 of 5 nodes", False),
        ("kube-system/kube-proxy wants 3 pods", "kube-system/kube-proxy wants 9 pods", True),
        ("kubelet v1.31.1-gke.1; API server v1.31.1", "kubelet v1.32.0-gke.7; API server v1.31.2", True),
        ("3 pods wanted, 3 updated, 2 available", "9 pods wanted, 9 updated, 8 available", True),
        ("3 pods wanted, 3 updated, 2 available", "9 pods wanted, 9 updated, 3 available", False),
        ("routes: at most 3400 of 4096 (83 %)", "routes: at most 3900 of 4096 (95 %)", True),
        ("routes: at most 3900 of 4096 (95 %)", "routes: at most 4200 of 4096 (102 %)", False),
        ("9 x v3.28.2, 1 x v3.29.0", "7 x v3.28.2, 4 x v3.29.0", True),
        ("9 x v3.28.2, 1 x v3.29.0", "9 x v3.28.2, 1 x v3.30.0", False),
        ("mode ipvs", "mode nftables", False),
    ],
)
def test_a_check_of_the_cluster_is_known_where_the_same_was_seen(
    before: str, now: str, status: Status, is_known: bool
) -> None:
    one = msgspec.structs.replace(finding(status, "cluster", id="cluster.a"), scope="cluster")
    old, new = (msgspec.structs.replace(one, observed=seen) for seen in (before, now))
    assert compare([new], report(old)).known == is_known
    # Nodes have names, and what was seen on them may vary.
    of_nodes = [msgspec.structs.replace(each, scope="node") for each in (old, new)]
    assert compare([of_nodes[1]], report(of_nodes[0])).known == 1


@pytest.mark.parametrize("name", ["aks", "kubeadm-argocd", "operator-3.28-hand-set"])
def test_one_more_node_makes_nothing_new_of_a_cluster(name: str) -> None:
    one = decode_snapshot((ROOT / "fixtures" / "snapshots" / name / "snapshot.json").read_bytes())
    last = one.nodes[-1]
    twin = msgspec.structs.replace(last, identity=msgspec.structs.replace(last.identity, name="twin"))
    assert one.cluster
    cluster = msgspec.structs.replace(one.cluster, node_count=known(len(one.nodes) + 1))
    more = msgspec.structs.replace(one, nodes=(*one.nodes, twin), cluster=cluster)
    settings = Settings(only=("cluster.*",))
    before = Judge(settings).report(one, "evaluate", NOW)
    after = Judge(settings).report(more, "evaluate", NOW)
    observed = [[each.observed for each in of.findings if each.status in (F, W)] for of in (before, after)]
    assert observed[0] != observed[1], "the number of nodes is told"
    assert compare(after.findings, before).new == 0


def test_what_was_waived_then_is_not_known() -> None:
    waived = msgspec.structs.replace(finding(F, "n1"), waived_by="somebody")
    assert compare([finding(F, "n1")], report(waived)).new == 1
    done = compare([waived], report(finding(F, "n1")))
    assert (done.known, done.new, done.findings) == (0, 0, (waived,))


def test_another_check_is_not_known_by_the_same_subject() -> None:
    assert compare([finding(F, "n1", id="node.b")], report(finding(F, "n1"))).known == 0


@given(FINDINGS, FINDINGS)
def test_a_baseline_loses_nothing_and_changes_no_status(now: list[Finding], before: list[Finding]) -> None:
    done = compare(now, report(*before))
    assert addresses(done.findings) == addresses(now)
    assert all(one.subjects for one in done.findings)
    held = Counter((one.id, subject, one.status) for one in before for subject in one.subjects)
    for one in done.findings:
        if one.in_baseline:
            # The builder gives one cause to each status.
            worse = [one.status, F] if one.status is W else [one.status]
            assert all(any(held[one.id, subject, status] for status in worse) for subject in one.subjects)
    assert compare(now, report(*now)).new == 0


def test_nodes_that_were_not_seen_then_either() -> None:
    gone, other = (Unseen(name=name, reason=Reason.TIMEOUT, detail="late") for name in ("gone", "other"))
    coverage = Coverage(nodes_total=3, nodes_surveyed=2, nodes_unlisted=1, unseen=(gone,))
    assert without_known(coverage, coverage) == Coverage(nodes_total=2, nodes_surveyed=2, unseen=(gone,))
    assert without_known(coverage, msgspec.structs.replace(coverage, unseen=(other,))) == coverage
    untold = msgspec.structs.replace(coverage, nodes_total=4)
    assert without_known(untold, untold) == untold, "one is missing and nobody says which"


def test_the_exit_code_is_of_what_is_new_and_the_verdict_of_all() -> None:
    bad = snapshot(kind(arch=known("riscv64")), names=("n1",))
    earlier = Judge(Settings(only=("node.arch",))).report(bad, "evaluate", NOW)
    assert (earlier.verdict, earlier.exit_code) == ("not_ready", 1)
    held = Judge(Settings(only=("node.arch",), baseline=Baseline(file="b.json", report=earlier)))
    again = held.report(bad, "evaluate", NOW)
    assert (again.verdict, again.exit_code, again.summary.fail) == ("not_ready", 0, 1)
    assert again.baseline is not None
    assert (again.baseline.known, again.baseline.new, again.baseline.verdict) == (1, 0, "ready")
    worse = held.report(snapshot(kind(arch=known("riscv64")), kind(arch=known("mips")), names=("n1", "n2")), "x", NOW)
    assert (worse.exit_code, worse.baseline and worse.baseline.new) == (1, 1)


@pytest.mark.parametrize("cluster", [False, True])
def test_nodes_not_seen_count_as_new_only_where_the_baseline_saw_them(cluster: bool) -> None:
    def look(*unseen: str) -> Snapshot:
        nodes = tuple(Unseen(name=name, reason=Reason.UNREACHABLE, detail="no answer") for name in unseen)
        one = msgspec.structs.replace(snapshot(kind(arch=known("x86_64"))), unseen=nodes)
        return msgspec.structs.replace(one, cluster=ClusterFacts()) if cluster else one

    earlier = Judge(Settings(only=("node.arch",))).report(look("a", "b"), "node", NOW)
    held = Judge(Settings(only=("node.arch",), baseline=Baseline(file="b", report=earlier)))
    assert earlier.exit_code == 3
    # Of a cluster's nodes that no list holds nobody knows how many there are.
    assert held.report(look("a"), "node", NOW).exit_code == (3 if cluster else 0)
    assert held.report(look("a"), "node", NOW).verdict == "inconclusive"
    assert held.report(look("a", "c"), "node", NOW).exit_code == 3


def test_in_what_else_they_differ_is_said() -> None:
    tool = msgspec.structs.replace(EMPTY.tool, knowledge="2020-01-01")
    calico = CalicoTarget(version="v3.20", source="flag", install="unknown")
    target = msgspec.structs.replace(EMPTY.target, name="another")
    other = msgspec.structs.replace(EMPTY, tool=tool, calico=calico, target=target)
    said = [problem.detail for problem in remarks(EMPTY, Baseline(file="b", report=other))]
    assert said == [
        f"the baseline was judged for Calico v3.20, and this is judged for Calico {EMPTY.calico.version}",
        f"the baseline was judged with the knowledge of 2020-01-01, and this is judged with the knowledge of "
        f"{EMPTY.tool.knowledge}",
        f"the baseline is about another, and this is about {EMPTY.target.name}",
    ]
    assert not remarks(EMPTY, Baseline(file="b", report=EMPTY))


def test_a_report_that_answers_another_question_is_refused() -> None:
    verified = msgspec.structs.replace(EMPTY, command="verify", expect="bpf")
    with pytest.raises(UsageError, match="--baseline: b is a report of `ebpfcheck verify` on whether bpf runs"):
        Judge(Settings(baseline=Baseline(file="b", report=verified)))
    with pytest.raises(UsageError, match="--baseline: b is a report of `ebpfcheck evaluate`, which tells nothing"):
        Judge(Settings(baseline=Baseline(file="b", report=EMPTY), expect="bpf"))


def test_reports_are_read_as_they_were_written() -> None:
    whole = report(finding(F, "n1", "n2"), finding(W, "n1", "n2", id="node.b"))
    read = decode_report(encode_json(whole).encode())
    assert read == whole
    assert read.findings[0].subjects is read.findings[1].subjects, "held once"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not have the shape of ebpfcheck.report/v1"),
        (b"{", "does not have the shape of"),
        (b'{"schema": "ebpfcheck.report/v1"}', "does not have the shape of"),
        (b'{"schema": "ebpfcheck.report/v2"}', "it is not ebpfcheck.report/v1, but ebpfcheck.report/v2"),
        (b'{"schema": "\\u001b[31m"}', r"it is not ebpfcheck.report/v1, but \x1b[31m"),
        (b"{}", "it is not ebpfcheck.report/v1"),
        (b"\xff", "does not have the shape of"),
        (b"[" * 100_000, "does not have the shape of"),
        (json.dumps({**json.loads(encode_json(EMPTY)), "findings": [{"id": 1}]}).encode(), "does not have the shape"),
    ],
)
def test_what_is_no_report_is_told(data: bytes, words: str) -> None:
    with pytest.raises(ReportError) as caught:
        decode_report(data)
    assert words in str(caught.value)
