"""Comparing two reports: what counts as worse, and what cannot be told."""

from datetime import UTC, datetime
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.app import Judge
from ebpfcheck.compare import Exhibit, compared
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import diff_exit_code
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import Coverage, Finding, Report, Severity, Status
from ebpfcheck.model.snapshot import Unseen
from ebpfcheck.policy.diff import Differences, Matching, differences
from ebpfcheck.settings import Settings
from tests.builders import facts, finding, snapshot

NOW = datetime(2027, 1, 1, tzinfo=UTC)
EMPTY = Judge(Settings()).report(snapshot(facts().kind), "evaluate", NOW)
P, W, F, U, N = Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.NOT_APPLICABLE
RANK = {P: 0, N: 0, W: 1, F: 2}
CLUSTER = msgspec.structs.replace(EMPTY.target, kind="cluster")


def report(*findings: Finding, knowledge: str = "", **fields: object) -> Report:
    tool = msgspec.structs.replace(EMPTY.tool, knowledge=knowledge or EMPTY.tool.knowledge)
    coverage = Coverage(nodes_total=2, nodes_surveyed=2)
    return msgspec.structs.replace(EMPTY, findings=findings, tool=tool, **{"coverage": coverage, **fields})


def said(found: Differences) -> list[tuple[str, bool | None, tuple[str, ...]]]:
    return [(one.change, one.worse, one.subjects) for one in found.changes]


@pytest.mark.parametrize("matching", ["subjects", "outcomes"])
@pytest.mark.parametrize("cause", ["cause", "another"])
@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_each_status_and_what_became_of_it(before: Status, after: Status, cause: str, matching: Matching) -> None:
    found = differences(report(finding(before, "n1")), report(finding(after, "n1", cause=cause)), matching)
    if U in (before, after):
        if before is after:
            expected = []
        else:
            # What is not told of this check may be anything up to a fail.
            may_be = (RANK[after] if after is not U else 2) > (RANK[before] if before is not U else 0)
            expected = [("incomparable", None if may_be else False, ("n1",))]
    elif RANK[after] > RANK[before]:
        expected = [("changed" if RANK[before] else "new", True, ("n1",))]
    elif RANK[after] < RANK[before]:
        expected = [("changed" if RANK[after] else "fixed", False, ("n1",))]
    else:
        expected = [("changed", True, ("n1",))] if RANK[after] and cause == "another" else []
    assert said(found) == expected
    code = {True: 1, None: 3, False: 0}[expected[0][1]] if expected else 0
    assert diff_exit_code(found.outcome) == code


@pytest.mark.parametrize(("before", "after"), list(product((P, W, F, N), repeat=2)))
def test_other_knowledge_makes_a_difference_incomparable(before: Status, after: Status) -> None:
    same = differences(report(finding(before, "n1")), report(finding(after, "n1")))
    other = differences(report(finding(before, "n1"), knowledge="2020-01-01"), report(finding(after, "n1")))
    assert [one.change for one in other.changes] == ["incomparable"] * len(same.changes)
    # What would be worse may come of what the other knew, what would be better is no harm either way.
    assert [one.worse for one in other.changes] == [None if one.worse else False for one in same.changes]
    assert (other.outcome == "not_worse") == (same.outcome == "not_worse")
    assert other.outcome != "worse"
    assert "knowledge of 2020-01-01" in other.remarks[0]


@pytest.mark.parametrize(
    ("severity", "worse"), [(Severity.NOTE, False), (Severity.DEGRADE, None), (Severity.BLOCKER, None)]
)
def test_what_is_no_longer_told_is_as_bad_as_the_check_can_say(severity: Severity, worse: bool | None) -> None:
    lost = msgspec.structs.replace(finding(U, "n1"), severity=severity)
    assert said(differences(report(finding(P, "n1")), report(lost))) == [("incomparable", worse, ("n1",))]
    # A fail could not become worse.
    assert said(differences(report(finding(F, "n1")), report(lost))) == [("incomparable", False, ("n1",))]


def test_subjects_are_split_by_what_became_of_them() -> None:
    a = report(finding(P, "n1", "n2", "n3"), finding(F, "n4", "n5"))
    b = report(finding(P, "n1", "n4"), finding(F, "n2", "n3", "n5"))
    assert said(differences(a, b)) == [("fixed", False, ("n4",)), ("new", True, ("n2", "n3"))]


@pytest.mark.parametrize("status", list(Status))
def test_a_new_node_that_is_wrong_is_new_and_a_node_that_is_gone_is_nothing(status: Status) -> None:
    a, b = report(finding(P, "n1"), finding(status, "old")), report(finding(P, "n1"), finding(status, "n9"))
    found = differences(a, b)
    expected = {F: [("new", True, ("n9",))], W: [("new", True, ("n9",))], U: [("incomparable", None, ("n9",))]}
    assert said(found) == expected.get(status, [])
    assert (found.nodes_only_in_a, found.nodes_only_in_b) == (("old",), ("n9",))


@pytest.mark.parametrize("status", list(Status))
def test_a_node_that_was_not_seen_is_incomparable(status: Status) -> None:
    gone = Unseen(name="n2", reason=Reason.TIMEOUT, detail="late")
    short = Coverage(nodes_total=2, nodes_surveyed=1, unseen=(gone,))
    whole, partly = report(finding(P, "n1"), finding(status, "n2")), report(finding(P, "n1"), coverage=short)
    lost = said(differences(whole, partly))
    assert lost == ([] if status is U else [("incomparable", False if status is F else None, ("n2",))])
    found = said(differences(partly, whole))
    assert found == ([("incomparable", None, ("n2",))] if status in (F, W) else [] if status in (P, N) else found)
    unlisted = msgspec.structs.replace(short, unseen=(), nodes_unlisted=1)
    cluster = report(finding(P, "n1"), coverage=unlisted, target=CLUSTER)
    assert said(differences(whole, cluster)) == lost, "what is not in a list that is short may be there"


def test_a_check_that_was_not_run_is_incomparable() -> None:
    both = report(finding(P, "n1"), finding(F, "n1", id="node.b"), finding(P, "n1", id="node.c"))
    one = report(finding(P, "n1"))
    assert said(differences(both, one)) == [("incomparable", False, ("n1",)), ("incomparable", None, ("n1",))]
    assert said(differences(one, both)) == [("incomparable", None, ("n1",))]
    assert differences(one, both).changes[0].why == "A did not run this check"
    assert said(differences(one, both, "outcomes")) == said(differences(one, both))
    assert said(differences(both, one, "outcomes")) == said(differences(both, one))


def test_what_is_waived_in_b_is_not_worse() -> None:
    waived = msgspec.structs.replace(finding(F, "n1"), waived_by="somebody")
    (change,) = differences(report(finding(P, "n1")), report(waived)).changes
    assert (change.change, change.worse, change.waived_by) == ("new", False, "somebody")


def test_a_fleet_and_the_node_of_another_image() -> None:
    fleet = report(finding(P, "n1", "n2"), finding(F, "n3"), finding(W, "n1", id="node.b"))
    better = differences(fleet, report(finding(P, "canary"), finding(P, "canary", id="node.b")))
    assert better.matched_by == "outcomes"
    assert said(better) == [("fixed", False, ("canary",)), ("fixed", False, ("canary",))]
    assert not better.nodes_only_in_b
    same = differences(fleet, report(finding(F, "canary"), finding(W, "canary", id="node.b")))
    assert said(same) == []
    worse = differences(fleet, report(finding(F, "canary", cause="x"), finding(F, "canary", id="node.b")))
    assert said(worse) == [("changed", True, ("canary",)), ("changed", True, ("canary",))]
    beside = differences(fleet, report(finding(F, "c1"), finding(W, "c2", cause="y"), finding(W, "c1", id="node.b")))
    assert said(beside) == [], "a warning beside a fail that is known is neither worse nor better"


@pytest.mark.parametrize(
    ("of_fleet", "expected"),
    [
        ((P, U), [("incomparable", None, ("canary",))]),
        ((W, U), [("incomparable", None, ("canary",))]),
        # It cannot be worse than that.
        ((F, U), [("incomparable", False, ("canary",))]),
        ((U,), []),
    ],
)
def test_a_node_of_the_fleet_that_is_not_known_excuses_none(
    of_fleet: tuple[Status, ...], expected: list[tuple[str, bool | None, tuple[str, ...]]]
) -> None:
    fleet = report(*(finding(status, f"n{number}") for number, status in enumerate(of_fleet)))
    assert said(differences(fleet, report(finding(U, "canary")), "outcomes")) == expected


def test_checks_of_the_cluster_are_left_out_where_one_is_of_none() -> None:
    of_cluster = msgspec.structs.replace(finding(F, "cluster", id="cluster.c"), scope="cluster")
    fleet = report(finding(P, "n1"), of_cluster, target=CLUSTER)
    found = differences(fleet, report(finding(P, "n1")))
    assert not found.changes
    assert "left out" in found.remarks[-1]
    passing = msgspec.structs.replace(of_cluster, status=P)
    assert said(differences(report(passing, target=CLUSTER), report(of_cluster, target=CLUSTER))) == [
        ("new", True, ("cluster",))
    ]


@pytest.mark.parametrize("status", [W, F])
def test_the_same_cause_of_other_things_is_open_for_a_cluster(status: Status) -> None:
    def seen(observed: str, status: Status = status) -> Report:
        one = finding(status, "cluster", id="cluster.c")
        return report(msgspec.structs.replace(one, scope="cluster", observed=observed), target=CLUSTER)

    found = differences(seen("1 Service"), seen("40 Services"))
    assert (said(found), found.outcome) == ([("incomparable", None, ("cluster",))], "incomparable")
    assert found.changes[0].why == "of the same cause, but not of the same things"
    assert not differences(seen("Debug on 3 of 3 nodes"), seen("Debug on 4 of 4 nodes")).changes
    assert not differences(seen("1 Service", P), seen("40 Services", P)).changes


def test_where_nothing_was_compared_it_may_be_worse() -> None:
    of_cluster = msgspec.structs.replace(finding(P, "cluster", id="cluster.c"), scope="cluster")
    fleet = report(of_cluster, target=CLUSTER)
    for a, b in ((fleet, report(finding(P, "n1"))), (report(finding(P, "n1", id="node.b")), report(finding(P, "n1")))):
        found = differences(a, b)
        assert found.outcome == "incomparable"
        assert "no check was run on both, so nothing could be compared" in found.remarks


def test_new_nodes_that_b_did_not_see_leave_it_open() -> None:
    new = Unseen(name="n9", reason=Reason.UNREACHABLE, detail="no answer")
    short = Coverage(nodes_total=2, nodes_surveyed=1, nodes_unlisted=1, unseen=(new,))
    whole, partly = report(finding(P, "n1")), report(finding(P, "n1"), coverage=short)
    found = differences(whole, partly)
    assert (found.outcome, found.changes) == ("incomparable", ())
    assert found.remarks == ("nodes that A does not have were not seen in B (1, the first of them n9)",)
    assert differences(partly, partly).outcome == "not_worse"
    assert differences(partly, whole).outcome == "not_worse"
    unlisted = report(finding(P, "n1"), coverage=msgspec.structs.replace(short, unseen=()), target=CLUSTER)
    listed = report(finding(P, "n1"), target=CLUSTER)
    assert differences(listed, unlisted).remarks == ("B could not list all nodes",)
    assert differences(unlisted, listed).outcome == "not_worse"


SIDES = st.lists(st.sampled_from(["n1", "n2", "n3"]), unique=True).flatmap(
    lambda names: st.tuples(*(st.tuples(st.just(name), st.sampled_from(list(Status))) for name in names))
)


@given(SIDES, SIDES)
def test_every_pair_that_got_worse_is_told_once(
    before: tuple[tuple[str, Status], ...], after: tuple[tuple[str, Status], ...]
) -> None:
    def side(pairs: tuple[tuple[str, Status], ...]) -> Report:
        each = [(status, [name for name, one in pairs if one is status]) for status in Status]
        return report(finding(P, "always"), *(finding(status, *names) for status, names in each if names))

    found = differences(side(before), side(after), "subjects")
    old, new = dict(before), dict(after)
    told = [(name, one.worse) for one in found.changes for name in one.subjects]
    assert len({name for name, _ in told}) == len(told)
    for name in {*old, *new}:
        was, now = old.get(name, P), new.get(name)
        worse = [flag for told_name, flag in told if told_name == name]
        if now is None:
            assert not worse, "it is gone"
        elif U not in (was, now):
            assert (worse == [True]) == (RANK[now] > RANK[was])
        elif was is now:
            assert not worse
        else:
            assert worse == [None if (2 if now is U else RANK[now]) > (0 if was is U else RANK[was]) else False]
    assert not differences(side(after), side(after), "subjects").changes


def test_a_snapshot_that_names_no_release_is_judged_for_that_of_the_other() -> None:
    older = Exhibit("a.json", snapshot(facts().kind), Settings(calico_version="v3.20"))
    open_ = Exhibit("b.json", snapshot(facts().kind), Settings())
    for a, b in ((older, open_), (open_, older)):
        found = compared(a, b, NOW, "auto")
        assert (found.a.calico, found.b.calico, found.outcome, found.changes) == ("v3.20", "v3.20", "not_worse", ())
    verified = msgspec.structs.replace(EMPTY, expect="bpf")
    with pytest.raises(UsageError, match="one of the two is of `ebpfcheck verify`"):
        compared(open_, Exhibit("c", verified, Settings()), NOW, "auto")
