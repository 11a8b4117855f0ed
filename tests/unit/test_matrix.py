"""One snapshot at several releases."""

from datetime import UTC, date, datetime

import pytest

from ebpfcheck.app import Judge
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import FailOn, worst_exit_code
from ebpfcheck.matrix import matrix_of, parse_releases
from ebpfcheck.model.codec import decode_snapshot
from ebpfcheck.model.report import Status
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.policy.waivers import Waiver
from ebpfcheck.settings import Settings
from tests.builders import ROOT

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def story(name: str) -> Snapshot:
    return decode_snapshot((ROOT / "fixtures" / "snapshots" / name / "snapshot.json").read_bytes())


RHEL = story("rhel-8.2-three-nodes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v3.28..v3.31", "v3.28 v3.29 v3.30 v3.31"),
        ("3.28..3.28", "v3.28"),
        ("v3.28.2..v3.30", "v3.28.2 v3.29 v3.30"),
        ("v3.28..v3.30.1", "v3.28 v3.29 v3.30.1"),
        ("v3.28.2..v3.28.5", "v3.28.2 v3.28.3 v3.28.4 v3.28.5"),
        ("v3.28..v3.28.5", "v3.28 v3.28.5"),
        ("v3.30,v3.28.2", "v3.30 v3.28.2"),
        ("v3.28..v3.30, v3.29,v3.32.1", "v3.28 v3.29 v3.30 v3.32.1"),
    ],
)
def test_releases_are_read(text: str, expected: str) -> None:
    assert " ".join(map(str, parse_releases(text))) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v3.30..v3.28", "'v3.30..v3.28' is no range within one major release"),
        ("v3.28.5..v3.28.2", "is no range"),
        ("v3.28..v4.1", "is no range within one major release"),
        ("v3.28..", "'' is not a Calico release; a range is v3.28..v3.33"),
        ("v3.28,,v3.30", "'' is not a Calico release"),
        ("v3.28...v3.30", "'.v3.30' is not a Calico release"),
        ("v3.0..v3.9999", "names more than 40 releases"),
        ("v3.1.0..v3.1.9999", "names more than 40 releases"),
        ("\x1b[31m..v3.30", r"\\x1b[31m"),
    ],
)
def test_what_is_no_releases_is_told(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_releases(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("fail_on", ["fail", "warn", "never"])
@pytest.mark.parametrize("name", ["rhel-8.2-three-nodes", "debian-12", "kubespray-ipvs", "green-surveyed"])
def test_each_column_is_what_evaluate_says_of_that_release(name: str, fail_on: FailOn) -> None:
    snapshot, settings = story(name), Settings(fail_on=fail_on)
    matrix = matrix_of(snapshot, parse_releases("v3.20,v3.30..v3.32.1"), settings, NOW)
    codes = []
    for number, column in enumerate(matrix.releases):
        report = Judge(Settings(calico_version=column.version, fail_on=fail_on)).report(snapshot, "evaluate", NOW)
        codes.append(report.exit_code)
        assert (column.verdict, column.exit_code, column.summary) == (report.verdict, report.exit_code, report.summary)
        for row in matrix.checks:
            findings = [one for one in report.findings if one.id == row.id]
            cell = row.cells[number]
            assert cell.subjects.fail == sum(len(one.subjects) for one in findings if one.status is Status.FAIL)
            assert (cell.status is Status.FAIL) == any(one.status is Status.FAIL for one in findings)
            assert cell.status in {one.status for one in findings}
        assert any(row.cells[number].decides for row in matrix.checks) or report.verdict.startswith("ready")
    assert matrix.exit_code == worst_exit_code(codes)


def test_what_is_not_known_is_not_guessed() -> None:
    matrix = matrix_of(story("debian-12"), parse_releases("v3.32.1,v3.99,v3.1"), Settings(), NOW)
    known, *others = matrix.releases
    assert (known.is_known, known.exit_code) == (True, 0)
    for column in others:
        assert (column.is_known, column.verdict, column.summary, column.exit_code) == (False, None, None, 3)
    assert matrix.exit_code == 3
    assert matrix.first_not_ready is None
    assert all(cell.status is None and not cell.message for row in matrix.checks for cell in row.cells[1:])
    never = matrix_of(story("debian-12"), parse_releases("v3.32.1,v3.99"), Settings(fail_on="never"), NOW)
    assert never.exit_code == 0
    with pytest.raises(UsageError, match=r"knows none of these releases, only v3\.13 to v3\.\d+"):
        matrix_of(RHEL, parse_releases("v3.98..v3.99"), Settings(), NOW)


def test_the_first_release_that_is_refused_is_named() -> None:
    only = Settings(only=("node.kernel.btf",))
    matrix = matrix_of(RHEL, parse_releases("v3.30..v3.33"), only, NOW)
    assert [cell.status for cell in matrix.checks[0].cells] == ["pass", "warn", "warn", "fail"]
    assert matrix.first_not_ready == "v3.33"


def test_waivers_hold_at_each_release_and_fit_where_they_fit_at_one() -> None:
    def waiver(id: str, line: str) -> Waiver:
        return Waiver(id=id, subject="*", reason="r", owner="o", expires=date(2999, 1, 1), line=line)

    waivers = (waiver("node.kernel.btf", "w:1"), waiver("node.arch", "w:2"))
    matrix = matrix_of(
        RHEL, parse_releases("v3.30..v3.33"), Settings(only=("node.kernel.btf", "node.arch"), waivers=waivers), NOW
    )
    assert matrix.exit_code == 0
    (row,) = (row for row in matrix.checks if row.id == "node.kernel.btf")
    assert [cell.subjects.waived for cell in row.cells] == [0, 1, 1, 1]
    assert [cell.status for cell in row.cells] == ["pass"] * 4, "what is left counts"
    assert [problem.source for problem in matrix.problems] == ["w:2"]


@pytest.mark.parametrize(("codes", "worst"), [((), 0), ((0, 4), 4), ((0, 4, 3), 3), ((3, 1, 4), 1)])
def test_the_worst_of_several_codes(codes: tuple[int, ...], worst: int) -> None:
    assert worst_exit_code(codes) == worst
