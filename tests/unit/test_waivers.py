"""Waivers: what they forgive, until when, and that they lose nothing."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.engine import decide, summarize
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import FailOn, exit_code
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import Coverage, Finding, Status, Verdict
from ebpfcheck.policy.waivers import Waiver, load_waivers, waive
from tests.builders import finding

TODAY = date(2027, 1, 1)
WHOLE = Coverage(nodes_total=2, nodes_surveyed=2)
KNOWN = ("node.a", "node.b", "cluster.c")


def waiver(id: str = "*", subject: str = "*", expires: date = TODAY, line: str = "w:1") -> Waiver:
    return Waiver(id=id, subject=subject, reason="known", owner="ops", expires=expires, line=line)


CODES: dict[tuple[Status, FailOn], int] = {
    (Status.FAIL, "fail"): 1,
    (Status.FAIL, "warn"): 1,
    (Status.UNKNOWN, "fail"): 3,
    (Status.UNKNOWN, "warn"): 3,
    (Status.WARN, "warn"): 4,
}


@pytest.mark.parametrize("fail_on", ["fail", "warn", "never"])
@pytest.mark.parametrize("expires", [TODAY, TODAY + timedelta(1), TODAY - timedelta(1)], ids=["today", "later", "over"])
@pytest.mark.parametrize(
    ("pattern", "subject", "matched"),
    [
        ("node.a", "n1", ("n1",)),
        ("node.*", "n?", ("n1", "n2")),
        ("*", "*", ("n1", "n2")),
        ("node.b", "*", ()),
        ("node.a", "N1", ()),
        ("node.a", "other", ()),
    ],
)
@pytest.mark.parametrize("status", list(Status))
def test_each_status_each_match_each_expiry(
    status: Status, pattern: str, subject: str, matched: tuple[str, ...], expires: date, fail_on: FailOn
) -> None:
    done = waive([finding(status, "n1", "n2")], [waiver(pattern, subject, expires)], TODAY, KNOWN)
    if status in (Status.PASS, Status.NOT_APPLICABLE):
        matched = ()
    holds = expires >= TODAY
    forgiven = {name for one in done.findings if one.waived_by for name in one.subjects}
    assert forgiven == (set(matched) if holds else set())
    assert {name for one in done.findings if one.waiver_expired for name in one.subjects} == set(matched) - forgiven
    code = 0 if len(forgiven) == 2 else CODES.get((status, fail_on), 0)
    assert exit_code(decide(done.findings, WHOLE), fail_on) == code
    summary = summarize(done.findings)
    assert summary.waived == (1 if forgiven else 0)
    assert sum(msgspec.structs.astuple(summary)) == len(done.findings)
    (use,) = done.waivers
    if matched:
        assert (use.state, use.subjects) == ("used" if holds else "expired", len(matched))
        assert [problem.reason for problem in done.problems] == ([] if holds else [Reason.OUTDATED])
    else:
        # Of a check that was not run nothing can be said.
        assert (use.state, use.subjects) == ("not_run" if pattern == "node.b" else "unmatched", 0)
        assert len(done.problems) == (0 if pattern == "node.b" else 1)


def test_a_waiver_says_why_who_and_until_when() -> None:
    (one,) = waive([finding(Status.FAIL, "n1")], [waiver()], TODAY, KNOWN).findings
    assert one.waived_by == "known (ops, until 2027-01-01; w:1)"
    (problem,) = waive([finding(Status.FAIL, "n1")], [waiver(expires=date(2026, 1, 1))], TODAY, KNOWN).problems
    assert problem.source == "w:1"
    assert "expired on 2026-01-01" in problem.detail


def test_an_id_that_there_is_not_gets_a_hint() -> None:
    (problem,) = waive([finding(Status.FAIL, "n1")], [waiver("node.aa")], TODAY, KNOWN).problems
    assert problem.detail == "no check is called 'node.aa'; did you mean 'node.a'?"


def test_of_several_waivers_the_first_that_holds_counts() -> None:
    waivers = [
        waiver(subject="n1", expires=date(2026, 1, 1), line="w:1"),
        waiver(subject="n1", line="w:2"),
        waiver(line="w:3"),
    ]
    done = waive([finding(Status.FAIL, "n1", "n2")], waivers, TODAY, KNOWN)
    assert [(one.subjects, one.waived_by) for one in done.findings] == [
        (("n1",), "known (ops, until 2027-01-01; w:2)"),
        (("n2",), "known (ops, until 2027-01-01; w:3)"),
    ]
    assert [use.state for use in done.waivers] == ["unmatched", "used", "used"]


def test_no_waiver_makes_up_for_nodes_that_nobody_looked_at() -> None:
    done = waive([finding(Status.UNKNOWN, "n1", "n2")], [waiver()], TODAY, KNOWN)
    assert summarize(done.findings).waived == 1
    assert decide(done.findings, Coverage(nodes_total=2, nodes_surveyed=1)) is Verdict.INCONCLUSIVE


SUBJECTS = st.lists(st.sampled_from(["n1", "n2", "m1", "x[1]"]), unique=True, min_size=1).map(tuple)
FINDINGS = st.lists(
    st.builds(
        lambda status, subjects, name: finding(status, *subjects, id=name),
        st.sampled_from(list(Status)),
        SUBJECTS,
        st.sampled_from(KNOWN),
    ),
    max_size=6,
)
WAIVERS = st.lists(
    st.builds(
        waiver,
        st.sampled_from(["*", "node.*", "node.a", "cluster.c", "none"]),
        st.sampled_from(["*", "n*", "n1", "?1", "x[[]1]", "none"]),
        st.sampled_from([TODAY, TODAY - timedelta(1)]),
    ),
    max_size=4,
)


def addresses(findings: Iterable[Finding]) -> Counter[tuple[object, ...]]:
    return Counter(
        (one.id, subject, one.status, one.severity, one.message, one.fingerprint)
        for one in findings
        for subject in one.subjects
    )


@given(FINDINGS, WAIVERS)
def test_waivers_lose_nothing_and_change_no_status(findings: list[Finding], waivers: list[Waiver]) -> None:
    done = waive(findings, waivers, TODAY, KNOWN)
    assert addresses(done.findings) == addresses(findings)
    assert all(one.subjects for one in done.findings)
    for one in done.findings:
        counts = one.status in (Status.FAIL, Status.WARN, Status.UNKNOWN)
        for subject in one.subjects:
            matching = [
                each
                for each in waivers
                if fnmatchcase(one.id, each.id) and fnmatchcase(subject, each.subject) and counts
            ]
            holding = [each for each in matching if each.expires >= TODAY]
            assert (one.waived_by is not None) == bool(holding)
            assert (one.waiver_expired is not None) == (bool(matching) and not holding)
    assert sum(use.subjects for use in done.waivers) == sum(
        len(one.subjects) for one in done.findings if one.waived_by or one.waiver_expired
    )


ENTRY = '[[waiver]]\nid = "node.a"\nsubject = "n1"\nreason = "why"\nowner = "me"\nexpires = 2027-03-31\n'


def load(tmp_path: Path, text: str) -> tuple[Waiver, ...]:
    path = tmp_path / "waivers.toml"
    path.write_text(text)
    return load_waivers(str(path))


def test_a_file_of_waivers_is_read(tmp_path: Path) -> None:
    first, second = load(tmp_path, ENTRY + "\n" + ENTRY.replace('"why"', '"""\nso and\nso\x00"""'.replace("\x00", "")))
    assert msgspec.structs.replace(first, line="") == Waiver(
        id="node.a", subject="n1", reason="why", owner="me", expires=date(2027, 3, 31), line=""
    )
    assert second.reason == "so and so"
    assert first.line.endswith("waivers.toml:1")
    assert second.line.endswith("waivers.toml:8")
    assert load(tmp_path, "") == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (ENTRY.replace("owner", "ownr"), 5, "a waiver has no 'ownr'; did you mean 'owner'?"),
        (ENTRY + "color = 1\n", 7, "a waiver has no 'color'; it has id, subject, reason, owner, expires"),
        (ENTRY + ENTRY.replace('owner = "me"\n', ""), 7, "the waiver has no owner"),
        (ENTRY.replace('"why"', '" "'), 4, "the reason of a waiver is a text, and not empty"),
        (ENTRY.replace('"why"', "7"), 4, "the reason of a waiver is a text, and not empty"),
        (ENTRY.replace('"why"', f'"{"x" * 501}"'), 4, "the reason of a waiver has 500 characters at most"),
        (ENTRY.replace("2027-03-31", '"2027-03-31"'), 6, "expires is a date without quotes, such as 2027-03-31"),
        (
            ENTRY.replace("2027-03-31", "2027-03-31T00:00:00Z"),
            6,
            "expires is a date without quotes, such as 2027-03-31",
        ),
        (ENTRY.replace("2027-03-31", "2027-02-30"), 6, "is not TOML: "),
        ("x = 1\n" + ENTRY, 1, "there is no 'x' in a file of waivers, only [[waiver]]"),
        (ENTRY.replace("[[waiver]]", "[waiver]"), 1, "each waiver is a table of its own, headed [[waiver]]"),
        ("waiver = [1]\n", 1, "each waiver is a table of its own, headed [[waiver]]"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert f"waivers.toml:{line}: {words}" in str(caught.value)
