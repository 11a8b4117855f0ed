"""The use case of judging one snapshot for several Calico releases."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from ebpfcheck import __version__
from ebpfcheck.app import Judge
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import FailOn, exit_code, worst_exit_code
from ebpfcheck.knowledge import KNOWLEDGE_DATE
from ebpfcheck.knowledge.load import load_knowledge
from ebpfcheck.model.facts import Reason
from ebpfcheck.model.matrix import Cell, Column, Matrix, Row
from ebpfcheck.model.report import Finding, Report, Scope, Severity, Status, Summary, Tool, Verdict, leaves_open
from ebpfcheck.model.snapshot import Problem, Snapshot
from ebpfcheck.model.text import excerpt
from ebpfcheck.render.words import WORST_FIRST
from ebpfcheck.settings import Settings
from ebpfcheck.versions import CalicoVersion

_MOST = 40
# What a policy may set that is not heeded here; the formats are those of reports.
_OF_ONE_RELEASE = ("baseline", "format")


def parse_releases(text: str) -> tuple[CalicoVersion, ...]:
    """Read `v3.28..v3.33`, `v3.28.2,v3.30` or both mixed; UsageError if that is not so, or names too many.

    A range goes by minor releases, or by patches where its ends are of one minor release.
    """
    versions: list[CalicoVersion] = []
    for word in text.split(","):
        first, dots, last = word.partition("..")
        start = _parsed(first)
        versions += _between(start, _parsed(last), word) if dots else [start]
        if len(versions) > _MOST:
            raise UsageError(f"--calico-version: {excerpt(text, 40)!r} names more than {_MOST} releases")
    return tuple(dict.fromkeys(versions))


def _parsed(text: str) -> CalicoVersion:
    version = CalicoVersion.parse(text)
    if version is None:
        hint = "a range is v3.28..v3.33, a list v3.28,v3.30"
        raise UsageError(f"--calico-version: {excerpt(text, 40)!r} is not a Calico release; {hint}")
    return version


def _between(first: CalicoVersion, last: CalicoVersion, word: str) -> list[CalicoVersion]:
    if first.major != last.major or (first.minor, first.patch or 0) > (last.minor, last.patch or 0):
        raise UsageError(f"--calico-version: {excerpt(word, 40)!r} is no range within one major release")
    if first.minor == last.minor and first.patch is not None and last.patch is not None:
        patches = range(first.patch, min(last.patch, first.patch + _MOST) + 1)
        return [msgspec.structs.replace(first, patch=patch) for patch in patches]
    if first.minor == last.minor:
        return [first, last]
    between = range(first.minor + 1, min(last.minor, first.minor + _MOST + 1))
    return [first, *(CalicoVersion(major=first.major, minor=minor) for minor in between), last]


def matrix_of(
    snapshot: Snapshot, versions: Sequence[CalicoVersion], settings: Settings, started_at: datetime
) -> Matrix:
    """Judge a snapshot for each of the releases; those of which nothing is known are said to be so."""
    knowledge = load_knowledge()
    reports: list[Report | None] = []
    for version in versions:
        one = msgspec.structs.replace(settings, calico_version=str(version))
        reports.append(Judge(one).report(snapshot, "evaluate", started_at) if knowledge.covers(version) else None)
    known = [report for report in reports if report is not None]
    if not known:
        raise UsageError(
            f"--calico-version: this ebpfcheck knows none of these releases, only v{knowledge.releases.first} to "
            f"v{knowledge.releases.last}, as of {KNOWLEDGE_DATE}"
        )
    columns = tuple(
        _column(version, report, settings.fail_on) for version, report in zip(versions, reports, strict=True)
    )
    refused = (column.version for column in columns if column.verdict is Verdict.NOT_READY)
    return Matrix(
        tool=Tool(version=__version__, knowledge=KNOWLEDGE_DATE),
        started_at=started_at,
        target=known[0].target,
        scope=settings.scope,
        coverage=known[0].coverage,
        selection=known[0].selection,
        exit_code=worst_exit_code(column.exit_code for column in columns),
        first_not_ready=next(refused, None),
        releases=columns,
        checks=_rows(reports),
        settings=tuple(one for one in settings.sources if one.name not in _OF_ONE_RELEASE),
        problems=(*_problems(known), *_unheeded(settings)),
    )


def _column(version: CalicoVersion, report: Report | None, fail_on: FailOn) -> Column:
    if report is None:
        return Column(version=str(version), is_known=False, exit_code=exit_code(Verdict.INCONCLUSIVE, fail_on))
    return Column(
        version=str(version),
        is_known=True,
        remark=report.calico.remark,
        verdict=report.verdict,
        exit_code=report.exit_code,
        summary=report.summary,
    )


def _rows(reports: Sequence[Report | None]) -> tuple[Row, ...]:
    by_check: dict[str, list[list[Finding]]] = {}
    for number, report in enumerate(reports):
        for finding in report.findings if report else ():
            by_check.setdefault(finding.id, [[] for _ in reports])[number].append(finding)
    scope: Scope = next(report.scope for report in reports if report is not None)
    rows = []
    for check_id, findings in by_check.items():
        every = [finding for of_release in findings for finding in of_release]
        rows.append(
            Row(
                id=check_id,
                title=every[0].title,
                category=every[0].category,
                severity=min((finding.severity for finding in every), key=list(Severity).index),
                docs_url=every[0].docs_url,
                cells=tuple(_cell(of_release, scope) for of_release in findings),
            )
        )
    return tuple(rows)


def _cell(findings: Sequence[Finding], scope: Scope) -> Cell:
    def decides(finding: Finding) -> bool:
        return finding.status is Status.FAIL or leaves_open(finding, scope)

    counts = dict.fromkeys(Summary.__struct_fields__, 0)
    for finding in findings:
        word = "passed" if finding.status is Status.PASS else finding.status.value
        counts["waived" if finding.waived_by else word] += len(finding.subjects)
    counting = [finding for finding in findings if finding.waived_by is None]
    if not counting:
        return Cell(status=None, subjects=Summary(**counts))
    # An unknown that does not decide is less than a warning.
    worst = min(counting, key=lambda finding: (not decides(finding), WORST_FIRST.index(finding.status)))
    return Cell(
        status=worst.status,
        decides=decides(worst),
        needs_survey=worst.needs_survey,
        message=worst.message,
        overridden=worst.overridden,
        subjects=Summary(**counts),
    )


def _unheeded(settings: Settings) -> list[Problem]:
    """Return the problem that a policy has a baseline."""
    words = "a baseline is for one release, and was not used here: all that is wrong counts"
    return [
        Problem(source=one.origin, reason=Reason.UNSUPPORTED, detail=words)
        for one in settings.sources
        if one.name == "baseline"
    ]


def _problems(reports: Sequence[Report]) -> tuple[Problem, ...]:
    """Return the problems of all; a waiver that fits at one release is not unmatched."""
    fitting = {use.line for report in reports for use in report.waivers if use.state in ("used", "expired")}
    shown: dict[Problem, None] = {}
    for report in reports:
        unmatched = {use.line for use in report.waivers if use.state == "unmatched"}
        shown.update({one: None for one in report.problems if one.source not in unmatched & fitting})
    return tuple(shown)
