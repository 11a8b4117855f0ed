"""A baseline: an earlier report, against which only what is new or worse counts."""

from collections.abc import Iterable, Sequence

import msgspec

from ebpfcheck.errors import UsageError
from ebpfcheck.model.facts import Dataplane, Reason
from ebpfcheck.model.report import Coverage, Finding, Report, Status, is_below_floor
from ebpfcheck.model.snapshot import Problem
from ebpfcheck.policy.sameness import same_things
from ebpfcheck.policy.waivers import COUNTING, part_of


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A report and the file that it is from."""

    file: str
    report: Report

    def check(self, expect: Dataplane | None) -> None:
        """UsageError where the report answers another question than the one that is asked."""
        theirs = self.report.expect
        if theirs != expect:
            of = f"`ebpfcheck {self.report.command}`" + (f" on whether {theirs} runs" if theirs else "")
            raise UsageError(f"--baseline: {self.file} is a report of {of}, which tells nothing of what is asked here")


class Compared(msgspec.Struct, frozen=True):
    """Findings, split where the baseline has some of their subjects alone; pairs of a check and a subject counted."""

    findings: tuple[Finding, ...]
    known: int
    new: int


def compare(findings: Iterable[Finding], baseline: Report) -> Compared:
    """Mark what the baseline has too. What is waived is left as it is, and what was waived there is not in it.

    A fail or a warning is known where it was there of the same cause, and of a cluster of the same things; a warning
    also where it was a fail, an unknown where it was one.
    """
    held: dict[str, list[Finding]] = {}
    for one in baseline.findings:
        if one.status in COUNTING and one.waived_by is None:
            held.setdefault(one.id, []).append(one)
    marked: list[Finding] = []
    known = new = 0
    for finding in findings:
        if finding.status not in COUNTING or finding.waived_by is not None:
            marked.append(finding)
            continue
        accepted = [one.subjects for one in held.get(finding.id, ()) if _accepts(one, finding)]
        if finding.subjects in accepted:
            old, fresh = list(finding.subjects), []
        else:
            names: set[str] = set().union(*accepted)
            old = [name for name in finding.subjects if name in names]
            fresh = [name for name in finding.subjects if name not in names]
        known += len(old)
        new += len(fresh)
        if fresh:
            marked.append(part_of(finding, fresh))
        if old:
            marked.append(msgspec.structs.replace(part_of(finding, old), in_baseline=True))
    return Compared(tuple(marked), known, new)


def _accepts(old: Finding, finding: Finding) -> bool:
    if old.status is finding.status:
        is_unknown = finding.status is Status.UNKNOWN
        return is_unknown or (old.fingerprint == finding.fingerprint and same_things(old, finding))
    return old.status is Status.FAIL and finding.status is Status.WARN


def without_known(coverage: Coverage, baseline: Coverage) -> Coverage:
    """Return the coverage less the nodes that were not seen, where the baseline has not seen any of them either."""
    unseen = {node.name for node in coverage.unseen}
    missing = coverage.nodes_total - coverage.nodes_surveyed - coverage.nodes_inferred
    if is_below_floor(coverage) or missing != len(unseen) or not unseen <= {node.name for node in baseline.unseen}:
        return coverage
    return msgspec.structs.replace(coverage, nodes_total=coverage.nodes_total - missing, nodes_unlisted=0)


def remarks(report: Report, baseline: Baseline) -> Sequence[Problem]:
    """Return in what a report and its baseline differ other than in their findings."""
    ours, theirs = report, baseline.report
    pairs = (
        ("was judged for Calico", theirs.calico.version, ours.calico.version),
        ("was judged with the knowledge of", theirs.tool.knowledge, ours.tool.knowledge),
        ("is about", theirs.target.name, ours.target.name),
    )
    return [
        Problem(
            source=baseline.file,
            reason=Reason.OUTDATED,
            detail=f"the baseline {words} {old}, and this {words.replace('was ', 'is ')} {now}",
        )
        for words, old, now in pairs
        if old != now
    ]
