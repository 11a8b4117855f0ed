"""Judges facts by checks: each distinct combination of facts once, equal outcomes merged, errors contained."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Check, Given, Need, Outcome, Rung, Share, not_applicable, unknown
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import (
    NOT_COLLECTED,
    NOT_SURVEYED,
    Absent,
    Fact,
    Install,
    Known,
    NodeKind,
    Reason,
    Source,
    Unknown,
)
from ebpfcheck.model.report import (
    Coverage,
    Evidence,
    Finding,
    Remediation,
    Scope,
    Severity,
    Status,
    Summary,
    Verdict,
)
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.model.text import excerpt, visible

_EVIDENCE_LIMIT = 1000


def judge(snapshot: Snapshot, checks: Sequence[Check], release: Release, install: Install) -> tuple[Finding, ...]:
    """Return the findings of the checks about a snapshot, in the order of the checks."""
    nodes_of_kind: list[list[int]] = [[] for _ in snapshot.kinds]
    for index, node in enumerate(snapshot.nodes):
        nodes_of_kind[node.kind].append(index)
    names = tuple(visible(node.identity.name) for node in snapshot.nodes)
    every_node = tuple(range(len(names)))
    shares = _Shares(snapshot, [len(nodes) for nodes in nodes_of_kind])
    findings: list[Finding] = []
    for check in checks:
        is_cluster = check.scope == "cluster"
        holders = (snapshot.cluster or ClusterFacts(),) if is_cluster else snapshot.kinds
        for outcome, (evidence, members) in _outcomes(
            check, holders, shares, snapshot.sources, release, install
        ).items():
            nodes = every_node if len(members) == len(holders) else _nodes(members, nodes_of_kind)
            subjects = ("cluster",) if is_cluster else tuple(names[node] for node in nodes)
            if subjects:
                is_blind = outcome.status is Status.UNKNOWN and (
                    outcome.needs_survey or all(_is_blind(check, holders[one]) for one in members)
                )
                findings.append(_finding(check, outcome, tuple(evidence), subjects, release, needs_survey=is_blind))
    return tuple(findings)


def gather(snapshot: Snapshot, needs: Sequence[Need[Any]], release: Release, install: Install) -> Given:
    """Return what a check of the cluster with these needs, all of them optional, would be given."""
    counts = [0] * len(snapshot.kinds)
    for node in snapshot.nodes:
        counts[node.kind] += 1
    shares = _Shares(snapshot, counts)
    cluster = snapshot.cluster or ClusterFacts()
    values = {
        need: shares.of(need.facts[0]) if need.mode == "over_nodes" else getattr(cluster, need.facts[0])
        for need in needs
    }
    return Given(release, install, values)


def summarize(findings: Iterable[Finding]) -> Summary:
    """Count findings by status; a waived one counts as waived alone."""
    counts = dict.fromkeys(("passed", "warn", "fail", "unknown", "not_applicable", "waived"), 0)
    for finding in findings:
        word = "passed" if finding.status is Status.PASS else finding.status.value
        counts["waived" if finding.waived_by else word] += 1
    return Summary(**counts)


def decide(
    findings: Iterable[Finding], coverage: Coverage, *, scope: Scope = "nodes", checks_lost: bool = False
) -> Verdict:
    """Return the verdict; an unknown decides only where the check could have failed at this release.

    Where no node was looked at, nothing is ready; in the scope of the API alone, what only a node can tell does not
    count. `checks_lost`: some that were asked for could not be loaded.
    """
    counted = [finding for finding in findings if finding.waived_by is None]
    if any(finding.status is Status.FAIL for finding in counted):
        return Verdict.NOT_READY
    blind = any(
        finding.status is Status.UNKNOWN
        and finding.severity is Severity.BLOCKER
        and not (scope == "api" and finding.needs_survey)
        for finding in counted
    )
    seen = coverage.nodes_total if scope == "api" else coverage.nodes_surveyed + coverage.nodes_inferred
    if blind or coverage.unseen or checks_lost or not seen or (scope == "nodes" and seen < coverage.nodes_total):
        return Verdict.INCONCLUSIVE
    if any(finding.status is Status.WARN for finding in counted):
        return Verdict.READY_WITH_WARNINGS
    return Verdict.READY


def _nodes(kinds: Iterable[int], nodes_of_kind: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of the nodes of some kinds, in the order of the snapshot."""
    return sorted(node for kind in kinds for node in nodes_of_kind[kind])


_NO_SUCH_FACT = Unknown(reason=Reason.UNSUPPORTED, detail="there is no such fact of what this check is about")

_Groups = dict[Outcome, tuple[dict[Evidence, None], list[int]]]


class _Shares:
    """The facts of a snapshot's nodes, each of their states with the number of nodes."""

    def __init__(self, snapshot: Snapshot, counts: Sequence[int]) -> None:
        self._kinds = snapshot.kinds
        self._counts = counts
        self._done: dict[str, tuple[Share[Any], ...]] = {}
        # That no node could be listed is the reason why nothing of them is known.
        listed = (snapshot.cluster or ClusterFacts()).node_count
        is_refused = isinstance(listed, Unknown) and listed != NOT_COLLECTED
        self._of_none = (Share(fact=msgspec.structs.replace(listed, source=None), nodes=0),) if is_refused else ()

    def of(self, name: str) -> tuple[Share[Any], ...]:
        """Return the states of a fact, the most frequent one first."""
        if name not in self._done:
            counts: dict[Fact[Any], int] = {}
            for kind, count in zip(self._kinds, self._counts, strict=True):
                fact = getattr(kind, name, _NO_SUCH_FACT)
                alike = msgspec.structs.replace(fact, source=None if isinstance(fact, Unknown) else 0)
                counts[alike] = counts.get(alike, 0) + count
            states = sorted(counts.items(), key=lambda item: -item[1])
            shares = tuple(Share(fact=fact, nodes=count) for fact, count in states if count)
            self._done[name] = shares or self._of_none
        return self._done[name]


def _is_blind(check: Check, holder: NodeKind | ClusterFacts) -> bool:
    """Whether what a check of a node needs at least is among what only a look at the node would have told."""
    if not isinstance(holder, NodeKind):
        return False

    def is_seen(need: Need[Any]) -> bool:
        return any(getattr(holder, name, None) != NOT_SURVEYED for name in need.facts)

    at_least = [need for need in check.needs if need.mode != "optional"]
    return not all(map(is_seen, at_least)) if at_least else not any(map(is_seen, check.needs))


def _outcomes(
    check: Check,
    holders: Sequence[NodeKind | ClusterFacts],
    shares: _Shares,
    sources: Sequence[Source],
    release: Release,
    install: Install,
) -> _Groups:
    """Judge each distinct combination of the needed facts once; group the holders' indices by outcome."""
    judged: dict[tuple[Fact[Any], ...], tuple[Outcome, tuple[Evidence, ...]]] = {}
    groups: _Groups = {}
    of_nodes = {need.facts[0]: shares.of(need.facts[0]) for need in check.needs if need.mode == "over_nodes"}
    names = tuple(dict.fromkeys(name for need in check.needs for name in need.facts if name not in of_nodes))
    for index, holder in enumerate(holders):
        key = tuple(getattr(holder, name, _NO_SUCH_FACT) for name in names)
        if isinstance(holder, NodeKind) and _runs_another_system(holder):
            key = (holder.operating_system,)
            judged[key] = _OTHER_SYSTEM, _evidence({"operating_system": holder.operating_system}, {}, sources)
        elif key not in judged:
            facts = dict(zip(names, key, strict=True))
            outcome = _judge_once(check, facts, of_nodes, release, install)
            judged[key] = outcome, _evidence(facts, of_nodes, sources)
        outcome, evidence = judged[key]
        seen, members = groups.setdefault(outcome, ({}, []))
        seen.update(dict.fromkeys(evidence))
        members.append(index)
    return groups


_OTHER_SYSTEM = not_applicable(
    "other-system", "This node does not run Linux; cluster.nodes.windows says what that means for the cluster."
)


def _runs_another_system(kind: NodeKind) -> bool:
    return isinstance(kind.operating_system, Known) and kind.operating_system.value != "linux"


def _judge_once(
    check: Check,
    facts: dict[str, Fact[Any]],
    of_nodes: dict[str, tuple[Share[Any], ...]],
    release: Release,
    install: Install,
) -> Outcome:
    # A check may be anybody's: whatever it raises or returns must not take the other findings along.
    try:
        if check.severity(release) is None:
            return not_applicable("release", f"This does not concern Calico {release.version}.")
        values: dict[Need[Any], Any] = {}
        for need in check.needs:
            value = of_nodes[need.facts[0]] if need.mode == "over_nodes" else _unwrap(check, need, facts)
            if isinstance(value, Outcome):
                return value
            values[need] = value
        outcome: object = check.judge(Given(release, install, values))
        # Through plain data and back: what is not of the declared types is refused, and lists become tuples.
        whole = msgspec.convert(msgspec.to_builtins(outcome), Outcome)
    except Exception as error:
        return _broken(f"{type(error).__name__}: {error}", type(error).__name__)
    if whole.status is Status.UNKNOWN and whole.reason is None:
        return _broken("it gave no reason for an unknown", "no-reason")
    return whole


def _broken(words: str, cause: str) -> Outcome:
    return unknown(f"broken:{cause}", f"The check itself failed: {excerpt(words)}.", reason=Reason.UNSUPPORTED)


def _unwrap(check: Check, need: Need[Any], facts: dict[str, Fact[Any]]) -> Any:
    """Return what the check is given for a need, or the outcome where the need is not met."""
    if need.mode == "first_of":
        for name in need.facts:
            fact = facts[name]
            if isinstance(fact, Known):
                return Rung(fact=name, value=fact.value)
        return _not_told(check, need.facts[0], facts[need.facts[0]])
    name = need.facts[0]
    fact = facts[name]
    if need.mode == "optional":
        return fact
    if isinstance(fact, Unknown):
        return _not_told(check, name, fact)
    if need.mode == "settled":
        return fact
    return fact.value if isinstance(fact, Known) else _not_told(check, name, fact)


_NEXT_STEPS = {
    Reason.FORBIDDEN: "Run ebpfcheck as root, on the node itself.",
    Reason.TIMEOUT: "Give it more time with --timeout.",
    Reason.NOT_COLLECTED: "Run ebpfcheck on the node itself, as root and outside of containers.",
    Reason.TRUNCATED: "Run it again; if it is cut again, look for what ends it.",
    Reason.TOOL_MISSING: "Put the tool on the node's PATH.",
}


_NEXT_STEPS_IN_CLUSTER = {
    Reason.FORBIDDEN: "Grant what `ebpfcheck rbac` prints.",
    Reason.TIMEOUT: "Give it more time with --timeout.",
    Reason.UNREACHABLE: "Run it again; if it stays so, look at the API server's health.",
    Reason.TRUNCATED: "Run it again; if it is cut again, look for what ends it.",
}
_SURVEY = "Run `ebpfcheck node` on one node of each kind, as root."


def _not_told(check: Check, name: str, fact: Fact[Any]) -> Outcome:
    if isinstance(fact, Unknown):
        detail, reason = fact.detail, fact.reason
    else:
        detail, reason = "it is not there", Reason.NOT_COLLECTED
    step = (_NEXT_STEPS_IN_CLUSTER if check.scope == "cluster" else _NEXT_STEPS).get(reason)
    if fact == NOT_SURVEYED:
        step = _SURVEY
    return unknown(
        f"need:{name}:{reason}",
        f"{check.title} could not be judged: {excerpt(detail)}.",
        reason=reason,
        remediation=None if step is None else Remediation(text=step),
    )


def _evidence(
    facts: dict[str, Fact[Any]], of_nodes: dict[str, tuple[Share[Any], ...]], sources: Sequence[Source]
) -> tuple[Evidence, ...]:
    def entry(name: str, fact: Fact[Any]) -> Evidence:
        source = None if fact.source is None else sources[fact.source]
        return Evidence(fact=name, value=excerpt(_state(fact), _EVIDENCE_LIMIT), source=source)

    def shared(name: str, shares: tuple[Share[Any], ...]) -> Evidence:
        states = "; ".join(f"{share.nodes} x {_state(share.fact)}" for share in shares)
        return Evidence(fact=name, value=excerpt(states or "no nodes", _EVIDENCE_LIMIT))

    # A fact that this kind of look never brings is evidence of nothing.
    sought = [item for item in facts.items() if item[1] != NOT_COLLECTED]
    return (*(entry(*item) for item in sought), *(shared(*item) for item in of_nodes.items()))


def _state(fact: Fact[Any]) -> str:
    if isinstance(fact, Known):
        return _shown(fact.value)
    return "absent" if isinstance(fact, Absent) else f"unknown ({fact.reason}: {fact.detail})"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return " ".join(
            "=".join(str(part) for part in item) if isinstance(item, tuple) else _shown(item) for item in value
        )
    return msgspec.json.encode(_told(msgspec.to_builtins(value))).decode()


def _told(value: Any) -> Any:
    """Leave out what is not set: of a large fact that is most, and what is set has to be seen."""
    if isinstance(value, dict):
        parts = {key: _told(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, "", [], {})}
    return [_told(part) for part in value] if isinstance(value, list) else value


def _finding(
    check: Check,
    outcome: Outcome,
    evidence: tuple[Evidence, ...],
    subjects: tuple[str, ...],
    release: Release,
    *,
    needs_survey: bool,
) -> Finding:
    fix = outcome.remediation
    return Finding(
        id=check.id,
        title=check.title,
        category=check.category,
        scope=check.scope,
        severity=Severity.NOTE if outcome.is_note else _severity(check, release),
        status=outcome.status,
        note=outcome.is_note,
        subjects=subjects,
        message=visible(outcome.message),
        observed=visible(outcome.observed),
        required=visible(outcome.required),
        reason=outcome.reason,
        needs_survey=needs_survey,
        evidence=evidence,
        remediation=None
        if fix is None
        else Remediation(
            text=visible(fix.text),
            commands=tuple(visible(command) for command in fix.commands),
            needs_reboot=fix.needs_reboot,
            disruptive=fix.disruptive,
        ),
        docs_url=check.docs_url,
        fingerprint=fingerprint(check.id, outcome.status, outcome.cause),
    )


def _severity(check: Check, release: Release) -> Severity:
    try:
        return check.severity(release) or Severity.NOTE
    except Exception:
        # What cannot say how bad it is may be the worst; its finding already says that it is broken.
        return Severity.BLOCKER


def fingerprint(check_id: str, status: Status, cause: str) -> str:
    """Return the SHA-256 that names an outcome whatever its subjects are."""
    return hashlib.sha256("\0".join((check_id, status, cause)).encode()).hexdigest()
