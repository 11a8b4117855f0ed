"""The use case of comparing two reports or snapshots."""

from datetime import datetime

import msgspec

from ebpfcheck import __version__
from ebpfcheck.app import Judge
from ebpfcheck.errors import UsageError
from ebpfcheck.exitcodes import diff_exit_code
from ebpfcheck.knowledge import KNOWLEDGE_DATE
from ebpfcheck.model.diff import Diff, Side
from ebpfcheck.model.report import Report, Tool
from ebpfcheck.model.snapshot import Problem, Snapshot
from ebpfcheck.model.text import visible
from ebpfcheck.policy.diff import Matching, differences
from ebpfcheck.settings import Settings


class Exhibit(msgspec.Struct, frozen=True):
    """What is compared, the file that it is from, and how it is judged if it is a snapshot."""

    file: str
    document: Report | Snapshot
    settings: Settings


def compared(a: Exhibit, b: Exhibit, at: datetime, matching: Matching) -> Diff:
    """Compare two reports, or what is said of two snapshots; UsageError where they answer different questions.

    A snapshot of nodes alone, for which no release is asked, is judged for the release that the other is judged for.
    """
    of_a, of_b = _report(a, at), _report(b, at)
    if of_a.calico.version != of_b.calico.version:
        if of_b.calico.source == "default" and isinstance(b.document, Snapshot):
            of_b = _report(_judged_for(b, of_a.calico.version), at)
        elif of_a.calico.source == "default" and isinstance(a.document, Snapshot):
            of_a = _report(_judged_for(a, of_b.calico.version), at)
    if of_a.expect != of_b.expect:
        raise UsageError("one of the two is of `ebpfcheck verify`, and only reports on one question can be compared")
    found = differences(of_a, of_b, matching)
    return Diff(
        tool=Tool(version=__version__, knowledge=KNOWLEDGE_DATE),
        a=_side(a, of_a),
        b=_side(b, of_b),
        matched_by=found.matched_by,
        outcome=found.outcome,
        exit_code=diff_exit_code(found.outcome),
        summary=found.summary,
        changes=found.changes,
        nodes_only_in_a=found.nodes_only_in_a,
        nodes_only_in_b=found.nodes_only_in_b,
        remarks=found.remarks,
        problems=tuple(_of(letter, one) for letter, of in (("A", of_a), ("B", of_b)) for one in of.problems),
    )


def _report(one: Exhibit, at: datetime) -> Report:
    if isinstance(one.document, Report):
        return one.document
    return Judge(one.settings).report(one.document, "diff", at)


def _judged_for(one: Exhibit, version: str) -> Exhibit:
    settings = msgspec.structs.replace(one.settings, calico_version=version)
    return msgspec.structs.replace(one, settings=settings)


def _side(one: Exhibit, report: Report) -> Side:
    is_report = isinstance(one.document, Report)
    return Side(
        file=visible(one.file),
        document="report" if is_report else "snapshot",
        seen_at=one.document.finished_at if isinstance(one.document, Report) else one.document.taken_at,
        target=report.target.name,
        calico=report.calico.version,
        knowledge=report.tool.knowledge,
        verdict=report.verdict,
        coverage=report.coverage,
    )


def _of(letter: str, problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, source=f"{letter}: {problem.source}")
