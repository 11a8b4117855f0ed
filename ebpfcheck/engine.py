"""Judges facts by checks: each distinct combination of facts once, equal outcomes merged, errors contained."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ebpfcheck.knowledge.types import Release
from ebpfcheck.model.check import Check, Given, Need, Outcome, Rung, Share, not_applicable, unknown
from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import (
    API_FACTS,
    NOT_COLLECTED,
    NOT_SURVEYED,
    NOT_TRIED,
    Absent,
    Dataplane,
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
    is_below_floor,
    leaves_open,
)
from ebpfcheck.model.snapshot import Snapshot
from ebpfcheck.model.text import excerpt, visible

_EVIDENCE_LIMIT = 1000


def judge(
    snapshot: Snapshot,
    checks: Sequence[Check],
    release: Release,
    install: Install,
    expect: Dataplane = "bpf",
) -> tuple[Finding, ...]:
    """Return the findings of the checks about a snapshot, in the order of the checks."""
    aim = _Aim(release=release, install=install, expect=expect)
    shares = _Shares(snapshot)
    parties = _parties(snapshot)
    subjects = _Subjects(snapshot, parties)
    findings: list[Finding] = []
    for check in checks:
        if check.scope == "cluster":
            cluster = (snapshot.cluster or ClusterFacts(),)
            ((outcome, evidence),) = _judgements(check, cluster, shares, snapshot.sources, aim)
            is_blind = outcome.status is Status.UNKNOWN and outcome.needs_survey
            findings.append(_finding(check, outcome, evidence, ("cluster",), (), release, needs_survey=is_blind))
            continue
        judged = _judgements(check, snapshot.kinds, shares, snapshot.sources, aim)
        for (outcome, samples), members in _groups(check, parties, judged).items():
            kinds = [kind for member in members for kind in parties[member].kinds]
            is_blind = all(_is_blind(check, snapshot.kinds[kind]) for kind in kinds)
            evidence = tuple(dict.fromkeys(entry for kind in kinds for entry in judged[kind][1]))
            findings.append(
                _finding(
                    check,
                    outcome,
                    evidence,
                    subjects.of(members),
                    subjects.named(samples),
                    release,
                    needs_survey=outcome.status is Status.UNKNOWN and (outcome.needs_survey or is_blind),
                )
            )
    return tuple(findings)


def gather(snapshot: Snapshot, needs: Sequence[Need[Any]], release: Release, install: Install) -> Given:
    """Return what a check of the cluster with these needs, all of them optional, would be given."""
    shares = _Shares(snapshot)
    cluster = snapshot.cluster or ClusterFacts()
    values = {
        need: shares.of(need.facts[0]) if need.mode == "over_nodes" else getattr(cluster, need.facts[0])
        for need in needs
    }
    return Given(release, install, values)


def disagreements(
    snapshot: Snapshot,
    checks: Sequence[Check],
    release: Release,
    install: Install,
    samples: Sequence[Sequence[int]],
    expect: Dataplane = "bpf",
) -> list[bool]:
    """Return, for each group of surveyed nodes by their indices, whether a check of nodes tells them apart.

    What the API says of each node by itself, such as Felix's settings, is left out of account, as it is not inferred.
    """
    shares = _Shares(snapshot)
    aim = _Aim(release=release, install=install, expect=expect)
    groups = [tuple(dict.fromkeys(_levelled(snapshot, group))) for group in samples]
    kinds = tuple(dict.fromkeys(kind for group in groups for kind in group))
    found = [False] * len(groups)
    for check in checks:
        if check.scope == "node":
            judged = _judgements(check, kinds, shares, snapshot.sources, aim)
            said = {kind: (outcome.status, outcome.cause) for kind, (outcome, _) in zip(kinds, judged, strict=True)}
            found = [
                differ or len({said[kind] for kind in group}) > 1 for differ, group in zip(found, groups, strict=True)
            ]
    return found


def _levelled(snapshot: Snapshot, group: Iterable[int]) -> list[NodeKind]:
    """Return the kinds of some nodes as if the API said of all what it says of the first."""
    kinds = [snapshot.kinds[snapshot.nodes[index].kind] for index in group]
    return [msgspec.structs.replace(kind, **{name: getattr(kinds[0], name) for name in API_FACTS}) for kind in kinds]


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

    Nothing is ready unless each node was looked at or inferred from nodes alike, and as many were looked at as the
    policy wants; in the scope of the API alone, unless each is known of, and what only a node can tell does not count.
    `checks_lost`: some that were asked for could not be loaded.
    """
    counted = [finding for finding in findings if finding.waived_by is None]
    if any(finding.status is Status.FAIL for finding in counted):
        return Verdict.NOT_READY
    blind = any(leaves_open(finding, scope) for finding in counted)
    listed = coverage.nodes_total - coverage.nodes_unlisted
    seen = listed if scope == "api" else coverage.nodes_surveyed + coverage.nodes_inferred
    short = not seen or seen < coverage.nodes_total or (scope == "nodes" and is_below_floor(coverage))
    if blind or checks_lost or short:
        return Verdict.INCONCLUSIVE
    if any(finding.status is Status.WARN for finding in counted):
        return Verdict.READY_WITH_WARNINGS
    return Verdict.READY


_NO_SUCH_FACT = Unknown(reason=Reason.UNSUPPORTED, detail="there is no such fact of what this check is about")

_Judgement = tuple[Outcome, tuple[Evidence, ...]]


class _Aim(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged for."""

    release: Release
    install: Install
    expect: Dataplane


class _Party(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that are judged together: by the kind they are of, or by those they may be of as the samples show."""

    kinds: tuple[int, ...]
    samples: tuple[int, ...] = ()
    nodes: tuple[int, ...]


def _parties(snapshot: Snapshot) -> tuple[_Party, ...]:
    """Return all nodes: those that are of a kind, then those inferred from the same samples to be of the same kinds."""
    of_kind: dict[int, list[int]] = {kind: [] for kind in range(len(snapshot.kinds))}
    of_inference: dict[int, list[int]] = {}
    for index, node in enumerate(snapshot.nodes):
        if node.inference is None:
            of_kind[node.kind].append(index)
        else:
            of_inference.setdefault(node.inference, []).append(index)
    seen = (_Party(kinds=(kind,), nodes=tuple(nodes)) for kind, nodes in of_kind.items() if nodes)
    inferred = (
        _Party(
            kinds=snapshot.inferences[number].kinds,
            samples=tuple(sorted(set(snapshot.inferences[number].samples))),
            nodes=tuple(nodes),
        )
        for number, nodes in of_inference.items()
    )
    return (*seen, *inferred)


class _Subjects:
    """The names of the nodes of parties, made once for all findings about the same ones."""

    def __init__(self, snapshot: Snapshot, parties: Sequence[_Party]) -> None:
        self._names = tuple(visible(node.identity.name) for node in snapshot.nodes)
        self._parties = parties
        self._done: dict[tuple[int, ...], tuple[str, ...]] = {}

    def of(self, members: Sequence[int]) -> tuple[str, ...]:
        """Return the names of the nodes of some parties, in the order of the snapshot."""
        key = tuple(members)
        if key not in self._done:
            self._done[key] = self.named(sorted(node for member in key for node in self._parties[member].nodes))
        return self._done[key]

    def named(self, nodes: Iterable[int]) -> tuple[str, ...]:
        """Return the names of nodes."""
        return tuple(self._names[node] for node in nodes)


def _groups(
    check: Check, parties: Sequence[_Party], judged: Sequence[_Judgement]
) -> dict[tuple[Outcome, tuple[int, ...]], list[int]]:
    """Group parties by their outcome and the samples that it was inferred from; what was seen has none."""
    groups: dict[tuple[Outcome, tuple[int, ...]], list[int]] = {}
    for number, party in enumerate(parties):
        outcome = _together(check, [judged[kind][0] for kind in party.kinds])
        groups.setdefault((outcome, party.samples), []).append(number)
    return groups


def _together(check: Check, outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome for nodes that may be of several kinds: what is said of all of these, else that it differs."""
    if len({(outcome.status, outcome.cause) for outcome in outcomes}) == 1:
        seen = dict.fromkeys(outcome.observed for outcome in outcomes if outcome.observed)
        return msgspec.structs.replace(outcomes[0], observed=" or ".join(seen))
    words = sorted({outcome.status.replace("_", " ") for outcome in outcomes})
    said = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else f"{words[0]}, of different causes"
    return unknown(
        "samples-differ",
        f"{check.title} could not be inferred: the nodes alike that were looked at do not agree about it ({said}).",
        reason=Reason.NOT_COLLECTED,
        observed=said,
        remediation=Remediation(text="Look at each node: `ebpfcheck cluster` with --probe-nodes all."),
    )


class _Shares:
    """The facts of a snapshot's nodes, each of their states with the number of nodes, and those of its cluster."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.cluster = snapshot.cluster or ClusterFacts()
        self._counts = Counter((node.kind, node.inference) for node in snapshot.nodes)
        self._done: dict[str, tuple[Share[Any], ...]] = {}
        # That no node could be listed is the reason why nothing of them is known.
        listed = self.cluster.node_count
        is_refused = isinstance(listed, Unknown) and listed != NOT_COLLECTED
        self._of_none = (Share(fact=msgspec.structs.replace(listed, source=None), nodes=0),) if is_refused else ()

    def of(self, name: str) -> tuple[Share[Any], ...]:
        """Return the states of a fact, the most frequent one first."""
        if name not in self._done:
            counts: dict[Fact[Any], int] = {}
            for (kind, inference), count in self._counts.items():
                fact = self._fact(name, kind, inference)
                counts[fact] = counts.get(fact, 0) + count
            states = sorted(counts.items(), key=lambda item: -item[1])
            self._done[name] = tuple(Share(fact=fact, nodes=count) for fact, count in states) or self._of_none
        return self._done[name]

    def _fact(self, name: str, kind: int, inference: int | None) -> Fact[Any]:
        """Return a fact without its source: that of nodes alike where they agree on it, else what is known of this."""
        kinds = (kind,) if inference is None else self._snapshot.inferences[inference].kinds
        facts = {self._alike(name, one) for one in kinds}
        return facts.pop() if len(facts) == 1 else self._alike(name, kind)

    def _alike(self, name: str, kind: int) -> Fact[Any]:
        fact: Fact[Any] = getattr(self._snapshot.kinds[kind], name, _NO_SUCH_FACT)
        return msgspec.structs.replace(fact, source=None if isinstance(fact, Unknown) else 0)


def _is_blind(check: Check, kind: NodeKind) -> bool:
    """Whether what a check of a node needs at least is among what only a look at the node would have told."""

    def is_seen(need: Need[Any]) -> bool:
        return any(getattr(kind, name, None) not in (NOT_SURVEYED, NOT_TRIED) for name in need.facts)

    of_node = [need for need in check.needs if need.mode != "of_cluster"]
    at_least = [need for need in of_node if need.mode != "optional"]
    return not all(map(is_seen, at_least)) if at_least else not any(map(is_seen, of_node))


def _judgements(
    check: Check,
    holders: Sequence[NodeKind | ClusterFacts],
    shares: _Shares,
    sources: Sequence[Source],
    aim: _Aim,
) -> list[_Judgement]:
    """Judge each distinct combination of the needed facts once; return what is said of each holder, and on what."""
    known: dict[tuple[Fact[Any], ...], _Judgement] = {}
    judged: list[_Judgement] = []
    of_nodes = {need.facts[0]: shares.of(need.facts[0]) for need in check.needs if need.mode == "over_nodes"}
    of_cluster = {need: getattr(shares.cluster, need.facts[0]) for need in check.needs if need.mode == "of_cluster"}
    named = {need.facts[0]: fact for need, fact in of_cluster.items()}
    of_holder = [need for need in check.needs if need.mode not in ("over_nodes", "of_cluster")]
    names = tuple(dict.fromkeys(name for need in of_holder for name in need.facts))
    for holder in holders:
        key = tuple(getattr(holder, name, _NO_SUCH_FACT) for name in names)
        if isinstance(holder, NodeKind) and _runs_another_system(holder):
            key = (holder.operating_system,)
            known[key] = _OTHER_SYSTEM, _evidence({"operating_system": holder.operating_system}, {}, sources)
        elif key not in known:
            facts = dict(zip(names, key, strict=True))
            outcome = _judge_once(check, facts, of_nodes, of_cluster, aim)
            known[key] = outcome, _evidence({**named, **facts}, of_nodes, sources)
        judged.append(known[key])
    return judged


_OTHER_SYSTEM = not_applicable(
    "other-system", "This node does not run Linux; cluster.nodes.windows says what that means for the cluster."
)


def _runs_another_system(kind: NodeKind) -> bool:
    return isinstance(kind.operating_system, Known) and kind.operating_system.value != "linux"


def _judge_once(
    check: Check,
    facts: dict[str, Fact[Any]],
    of_nodes: dict[str, tuple[Share[Any], ...]],
    of_cluster: dict[Need[Any], Fact[Any]],
    aim: _Aim,
) -> Outcome:
    # A check may be anybody's: whatever it raises or returns must not take the other findings along.
    try:
        if check.severity(aim.release) is None:
            return not_applicable("release", f"This does not concern Calico {aim.release.version}.")
        values: dict[Need[Any], Any] = dict(of_cluster)
        for need in check.needs:
            if need in of_cluster:
                continue
            value = of_nodes[need.facts[0]] if need.mode == "over_nodes" else _unwrap(check, need, facts)
            if isinstance(value, Outcome):
                return value
            values[need] = value
        outcome: object = check.judge(Given(aim.release, aim.install, values, aim.expect))
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
    Reason.NOT_COLLECTED: "Look at the node itself: `ebpfcheck node` as root, outside of containers, or --probe pod.",
    Reason.TRUNCATED: "Run it again; if it is cut again, look for what ends it.",
    Reason.TOOL_MISSING: "Put the tool on the node's PATH; for probes, into the image.",
}


_NEXT_STEPS_IN_CLUSTER = {
    Reason.FORBIDDEN: "Grant what `ebpfcheck rbac` prints.",
    Reason.TIMEOUT: "Give it more time with --timeout.",
    Reason.UNREACHABLE: "Run it again; if it stays so, look at the API server's health.",
    Reason.TRUNCATED: "Run it again; if it is cut again, look for what ends it.",
}
_SURVEY = (
    "Run `ebpfcheck cluster --probe exec` or `--probe pod`, or `ebpfcheck node` on one node of each kind, as root."
)


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
    sought = [item for item in facts.items() if item[1] not in (NOT_COLLECTED, NOT_TRIED)]
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
    inferred_from: tuple[str, ...],
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
        inferred_from=inferred_from,
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
