"""Compares two reports: what is new, fixed, changed, and what cannot be compared."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from ebpfcheck.model.diff import Change, DiffOutcome, DiffSummary, MatchedBy
from ebpfcheck.model.report import Finding, Report, Severity, Status
from ebpfcheck.policy.sameness import same_things
from ebpfcheck.policy.waivers import COUNTING

Matching = Literal["auto", "subjects", "outcomes"]


class Differences(msgspec.Struct, frozen=True):
    """What a comparison came to."""

    matched_by: MatchedBy
    outcome: DiffOutcome
    summary: DiffSummary
    changes: tuple[Change, ...]
    nodes_only_in_a: tuple[str, ...]
    nodes_only_in_b: tuple[str, ...]
    remarks: tuple[str, ...]


def differences(a: Report, b: Report, matching: Matching = "auto") -> Differences:
    """Compare two reports that answer the same question.

    `auto` holds each node against itself where the two have any in common, else what is said of any of A's against what
    is said of any of B's, as for a fleet and the node of a new image.
    """
    pair = _Pair(a, b)
    shared = pair.nodes_a & pair.nodes_b
    matched_by: MatchedBy = "subjects"
    if matching == "outcomes" or (matching == "auto" and not shared and pair.nodes_a and pair.nodes_b):
        matched_by = "outcomes"
    changes = tuple(_all_changes(pair, matched_by))
    summary = DiffSummary(
        **{kind: sum(one.change == kind for one in changes) for kind in ("new", "fixed", "changed", "incomparable")},
        worse=sum(one.worse is True for one in changes),
        undecided=sum(one.worse is None for one in changes),
    )
    by_name = matched_by == "subjects"
    unseen = tuple(_blind_spots(pair))
    return Differences(
        matched_by=matched_by,
        outcome="worse" if summary.worse else "incomparable" if summary.undecided or unseen else "not_worse",
        summary=summary,
        changes=changes,
        nodes_only_in_a=tuple(sorted(pair.nodes_a - pair.nodes_b)) if by_name else (),
        nodes_only_in_b=tuple(sorted(pair.nodes_b - pair.nodes_a)) if by_name else (),
        remarks=(*_remarks(pair, matched_by), *unseen),
    )


class _Pair:
    """Two reports, their findings by check, and the nodes of each."""

    def __init__(self, a: Report, b: Report) -> None:
        self.a, self.b = a, b
        self.of_a, self.of_b = _by_check(a), _by_check(b)
        self.nodes_a, self.nodes_b = _nodes(a), _nodes(b)
        self.same_knowledge = a.tool.knowledge == b.tool.knowledge
        self.are_both_clusters = a.target.kind == b.target.kind == "cluster"
        self._sets: dict[int, frozenset[str]] = {}

    def names(self, finding: Finding) -> frozenset[str]:
        """Return the subjects of a finding; most findings hold the very same ones."""
        # Reports outlive this, and so do their tuples.
        return self._sets.setdefault(id(finding.subjects), frozenset(finding.subjects))


def _by_check(report: Report) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(finding.id, []).append(finding)
    return found


def _nodes(report: Report) -> frozenset[str]:
    lists = {id(one.subjects): one.subjects for one in report.findings if one.scope == "node"}
    return frozenset().union(*lists.values())


def _remarks(pair: _Pair, matched_by: MatchedBy) -> Iterator[str]:
    a, b = pair.a, pair.b
    if a.calico.version != b.calico.version:
        yield f"A is judged for Calico {a.calico.version}, B for {b.calico.version}"
    if not pair.same_knowledge:
        yield (
            f"A was judged with the knowledge of {a.tool.knowledge}, B with that of {b.tool.knowledge}: whether a "
            "difference is one of what was looked at cannot be told; compare the snapshots instead"
        )
    if a.tool.version != b.tool.version:
        yield f"A was judged by ebpfcheck {a.tool.version}, B by {b.tool.version}"
    for letter, one in (("A", a.selection), ("B", b.selection)):
        if one.skipped:
            yield f"{letter} was judged by {one.run} of {one.run + len(one.skipped)} checks"
    if matched_by == "outcomes":
        yield "what is said of the nodes of A is held against what is said of those of B, whatever their names"
    if (a.target.kind == "cluster") != (b.target.kind == "cluster"):
        yield f"checks of the cluster are left out, as {'B' if a.target.kind == 'cluster' else 'A'} is not of a cluster"


def _blind_spots(pair: _Pair) -> Iterator[str]:
    """Yield what B may be worse by that no finding of its tells of."""
    shared = pair.of_a.keys() & pair.of_b.keys()
    if not any(pair.of_b[name][0].scope == "node" or pair.are_both_clusters for name in shared):
        yield "no check was run on both, so nothing could be compared"
    old = pair.nodes_a | {node.name for node in pair.a.coverage.unseen}
    fresh = [node.name for node in pair.b.coverage.unseen if node.name not in old | pair.nodes_b]
    if fresh:
        yield f"nodes that A does not have were not seen in B ({len(fresh):,}, the first of them {fresh[0]})"
    elif pair.b.coverage.nodes_unlisted > pair.a.coverage.nodes_unlisted and not pair.b.coverage.unseen:
        yield "B could not list all nodes"


def _all_changes(pair: _Pair, matched_by: MatchedBy) -> Iterator[Change]:
    for check_id in dict.fromkeys((*pair.of_b, *pair.of_a)):
        of_a, of_b = pair.of_a.get(check_id, []), pair.of_b.get(check_id, [])
        if (of_b or of_a)[0].scope == "cluster":
            if pair.are_both_clusters:
                yield from _by_subjects(pair, of_a, of_b)
        elif matched_by == "outcomes":
            yield from _by_outcomes(pair, of_a, of_b)
        else:
            yield from _by_subjects(pair, of_a, of_b)


class _Judged(NamedTuple):
    change: Literal["new", "fixed", "changed", "incomparable"]
    worse: bool | None
    why: str = ""


_RANKS = {Status.PASS: 0, Status.NOT_APPLICABLE: 0, Status.WARN: 1, Status.FAIL: 2}
_WORST = {Severity.NOTE: 0, Severity.DEGRADE: 1, Severity.BLOCKER: 2}


def _least(a: Finding | None) -> int:
    """Return how bad it is in A at least."""
    return 0 if a is None or a.status is Status.UNKNOWN else _RANKS[a.status]


def _most(b: Finding | None, severity: Severity) -> int:
    """Return how bad it may be in B; of what is not told that is the worst that the check can say."""
    return _WORST[severity] if b is None or b.status is Status.UNKNOWN else _RANKS[b.status]


def _compared(pair: _Pair, a: Finding, b: Finding) -> _Judged | None:
    """Return what has become of a subject, None where that is nothing."""
    if Status.UNKNOWN in (a.status, b.status):
        if a.status is b.status:
            return None
        which = "A" if a.status is Status.UNKNOWN else "B"
        return _untold(a, b, b.severity, f"{which} could not tell")
    old, new = _RANKS[a.status], _RANKS[b.status]
    if old == new and (not new or a.fingerprint == b.fingerprint):
        if not new or same_things(a, b):
            return None
        return _Judged("incomparable", None, "of the same cause, but not of the same things")
    worse = new >= old
    if not pair.same_knowledge:
        return _Judged("incomparable", None if worse else False, "judged by other knowledge")
    if not old:
        return _Judged("new", worse)
    return _Judged("changed" if new else "fixed", worse)


def _untold(a: Finding | None, b: Finding | None, severity: Severity, why: str) -> _Judged:
    """Return what can be said where one of the two does not tell: whether B may be worse."""
    return _Judged("incomparable", None if _most(b, severity) > _least(a) else False, why)


def _by_subjects(pair: _Pair, of_a: Sequence[Finding], of_b: Sequence[Finding]) -> Iterator[Change]:
    for b in of_b:
        for a in of_a:
            if a.subjects == b.subjects:
                yield from _change(_compared(pair, a, b), a, b, b.subjects)
            elif both := pair.names(a) & pair.names(b):
                subjects = tuple(name for name in b.subjects if name in both)
                yield from _change(_compared(pair, a, b), a, b, subjects)
        yield from _only_in_b(pair, of_a, b)
    for a in of_a:
        yield from _only_in_a(pair, a, of_b)


def _left(pair: _Pair, finding: Finding, others: Iterable[Finding]) -> tuple[str, ...]:
    """Return the subjects that none of the other findings has."""
    left = pair.names(finding)
    for other in others:
        if other.subjects == finding.subjects:
            return ()
        left -= pair.names(other)
    return tuple(name for name in finding.subjects if name in left) if left else ()


def _only_in_b(pair: _Pair, of_a: Sequence[Finding], b: Finding) -> Iterator[Change]:
    subjects = _left(pair, b, of_a)
    if not subjects or b.status not in COUNTING:
        return
    for why, names in _absent(pair.a, "A", of_a, subjects):
        if not why and b.status is not Status.UNKNOWN and pair.same_knowledge:
            yield from _change(_Judged("new", True), None, b, names)
        elif not why:
            words = "the node is in B alone" if pair.same_knowledge else "judged by other knowledge"
            yield from _change(_untold(None, b, b.severity, words), None, b, names)
        elif b.status is not Status.UNKNOWN:
            yield from _change(_untold(None, b, b.severity, why), None, b, names)


def _only_in_a(pair: _Pair, a: Finding, of_b: Sequence[Finding]) -> Iterator[Change]:
    subjects = _left(pair, a, of_b)
    if not subjects or a.status is Status.UNKNOWN:
        return
    for why, names in _absent(pair.b, "B", of_b, subjects):
        # A node that is gone is neither fixed nor worse.
        if why:
            yield from _change(_untold(a, None, a.severity, why), a, None, names)


def _absent(
    report: Report, letter: str, findings: Sequence[Finding], subjects: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield why a report does not tell of some subjects; "" where there are none of that name in it."""
    if not findings:
        yield f"{letter} did not run this check", subjects
        return
    unseen = {node.name for node in report.coverage.unseen}
    missed = tuple(name for name in subjects if name in unseen)
    others = tuple(name for name in subjects if name not in unseen)
    if missed:
        yield f"{letter} did not see the node", missed
    is_short = report.target.kind == "cluster" and report.coverage.nodes_unlisted > 0
    if others:
        yield (f"{letter} could not list all nodes" if is_short else ""), others


_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS, Status.NOT_APPLICABLE)


def _by_outcomes(pair: _Pair, of_a: Sequence[Finding], of_b: Sequence[Finding]) -> Iterator[Change]:
    """Compare what is said of any node: B is worse where it says worse than A's worst, or as bad in another way."""
    if not of_a or not of_b:
        for b in of_b:
            if b.status in (Status.FAIL, Status.WARN):
                yield from _change(_untold(None, b, b.severity, "A did not run this check"), None, b, b.subjects)
        for a in of_a:
            if a.status is not Status.UNKNOWN:
                yield from _change(_untold(a, None, a.severity, "B did not run this check"), a, None, a.subjects)
        return
    worst_a, worst_b = _worst(of_a), _worst(of_b)
    # A node of A that could not be looked at says nothing for one of B.
    known = [one for one in of_a if one.status is not Status.UNKNOWN]
    told = []
    for b in of_b:
        if b.status not in COUNTING or any(_says_the_same(a, b) for a in known):
            continue
        a = _worst(known) if known and b.status is Status.UNKNOWN else worst_a
        judged = _compared(pair, a, b)
        # A warning beside a fail is no improvement.
        if judged is not None and judged.worse is not False:
            told.append((judged, a, b))
    for judged, a, b in told:
        yield from _change(judged, a, b, b.subjects)
    if not told:
        judged_worst = _compared(pair, worst_a, worst_b)
        if judged_worst is not None and judged_worst.worse is False:
            yield from _change(judged_worst, worst_a, worst_b, worst_b.subjects)


def _worst(findings: Iterable[Finding]) -> Finding:
    return min(findings, key=lambda one: _WORST_FIRST.index(one.status))


def _says_the_same(a: Finding, b: Finding) -> bool:
    return a.status is b.status and a.fingerprint == b.fingerprint


def _change(
    judged: _Judged | None, a: Finding | None, b: Finding | None, subjects: tuple[str, ...]
) -> Iterator[Change]:
    shown = b or a
    if judged is None or shown is None:
        return
    waived_by = None if b is None else b.waived_by
    yield Change(
        change=judged.change,
        worse=judged.worse if waived_by is None else False,
        id=shown.id,
        title=shown.title,
        category=shown.category,
        scope=shown.scope,
        severity=shown.severity,
        subjects=subjects,
        a=None if a is None else a.status,
        b=None if b is None else b.status,
        why=judged.why,
        message=shown.message,
        remediation=shown.remediation if judged.worse is not False else None,
        docs_url=shown.docs_url,
        waived_by=waived_by,
    )
