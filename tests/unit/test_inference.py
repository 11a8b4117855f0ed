"""What was inferred from nodes alike: never mixed with what was seen, and never better than the samples."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpfcheck.app import coverage_of
from ebpfcheck.checks.builtin import BUILTIN
from ebpfcheck.collect.cohorts import Cohort, with_surveys
from ebpfcheck.engine import decide, disagreements, gather, judge
from ebpfcheck.model.check import Check, Given, Outcome, check, fail, over_nodes, passed, required, warn
from ebpfcheck.model.codec import decode_snapshot, encode_snapshot
from ebpfcheck.model.facts import (
    NOT_SURVEYED,
    FelixSettings,
    NodeFacts,
    NodeIdentity,
    NodeKind,
    Reason,
    Unknown,
)
from ebpfcheck.model.report import Coverage, Finding, Severity, Status, Verdict
from ebpfcheck.model.snapshot import Inference, Node, Snapshot, SourceIndex, Unseen
from tests.builders import kind, known, release, snapshot

RELEASE = release("v3.32.1")
INIT = required(NodeKind.init)
FELIX = required(NodeKind.felix)


def checking(judge_with: Callable[[Given], Outcome], id: str = "test.init", need: Any = INIT) -> Check:
    return check(id=id, title="Init", category="test", severity=Severity.BLOCKER, needs=(need,))(judge_with)


BY_INIT = checking(
    lambda given: {
        "systemd": passed("ok", "good", observed="systemd"),
        "runit": fail("bad", "bad", observed="runit"),
        "openrc": fail("worse", "worse", observed="openrc"),
        "s6": passed("ok", "good", observed="s6"),
        "sysv": warn("old", "old"),
    }[given[INIT]]
)
BY_FELIX = checking(
    lambda given: fail("on", "on") if given[FELIX].bpf_enabled else passed("off", "off"), "test.felix", FELIX
)


def nodes(*inits: str | tuple[int, ...], kinds: tuple[NodeKind, ...] = ()) -> Snapshot:
    """Nodes a, b, c ... of one API kind: surveyed ones with their init, or the samples that they are inferred from."""
    api = kind(init=NOT_SURVEYED, felix=known(FelixSettings()))
    found = {one: number for number, one in enumerate(dict.fromkeys(one for one in inits if isinstance(one, str)))}
    drawn = list(dict.fromkeys(one for one in inits if isinstance(one, tuple)))
    seen = tuple(kind(init=known(one), felix=known(FelixSettings())) for one in found)
    inferences = tuple(
        Inference(kinds=tuple(dict.fromkeys(found[str(inits[sample])] for sample in samples)), samples=samples)
        for samples in drawn
    )
    return msgspec.structs.replace(
        snapshot(),
        kinds=(*seen, *kinds, api),
        inferences=inferences,
        nodes=tuple(
            Node(identity=NodeIdentity(name=chr(ord("a") + number)), kind=found[one])
            if isinstance(one, str)
            else Node(
                identity=NodeIdentity(name=chr(ord("a") + number)),
                kind=len(seen) + len(kinds),
                surveyed=False,
                inference=drawn.index(one) if one else None,
            )
            for number, one in enumerate(inits)
        ),
    )


def told(one: Snapshot, *checks: Check) -> list[tuple[Status, tuple[str, ...], tuple[str, ...]]]:
    assert decode_snapshot(encode_snapshot(one)) == one
    findings = judge(one, checks or (BY_INIT,), RELEASE, "unknown")
    return [(finding.status, finding.subjects, finding.inferred_from) for finding in findings]


def test_what_was_inferred_never_shares_a_finding_with_what_was_seen() -> None:
    assert told(nodes("systemd", (0,), (0,))) == [
        (Status.PASS, ("a",), ()),
        (Status.PASS, ("b", "c"), ("a",)),
    ]


def test_what_was_inferred_from_others_makes_a_finding_of_its_own() -> None:
    assert told(nodes("runit", (0,), "runit", (2,), (0,))) == [
        (Status.FAIL, ("a", "c"), ()),
        (Status.FAIL, ("b", "e"), ("a",)),
        (Status.FAIL, ("d",), ("c",)),
    ]


def test_samples_are_named_once_in_the_order_of_the_nodes() -> None:
    one = nodes("systemd", "systemd", "systemd", (0, 1, 2))
    mixed = msgspec.structs.replace(one, inferences=(Inference(kinds=(0,), samples=(2, 0, 2, 1)),))
    assert told(mixed)[1] == (Status.PASS, ("d",), ("a", "b", "c"))


def test_inferences_from_the_same_samples_share_what_they_share() -> None:
    api = kind(init=known("systemd"), felix=known(FelixSettings(bpf_enabled=True)))
    one = nodes("systemd", (0,), kinds=(api,))
    own = msgspec.structs.replace(one.nodes[1], identity=NodeIdentity(name="c"), inference=1)
    one = msgspec.structs.replace(
        one, nodes=(*one.nodes, own), inferences=(*one.inferences, Inference(kinds=(1,), samples=(0,)))
    )
    assert told(one)[1:] == [(Status.PASS, ("b", "c"), ("a",))]
    assert told(one, BY_FELIX)[1:] == [(Status.PASS, ("b",), ("a",)), (Status.FAIL, ("c",), ("a",))]


@pytest.mark.parametrize(
    ("inits", "words"),
    [
        (("systemd", "runit"), "fail and pass"),
        (("systemd", "sysv", "runit"), "fail, pass and warn"),
        (("runit", "openrc"), "fail, of different causes"),
    ],
)
def test_samples_that_differ_leave_it_open(inits: tuple[str, ...], words: str) -> None:
    one = nodes(*inits, tuple(range(len(inits))))
    *_, finding = judge(one, (BY_INIT,), RELEASE, "unknown")
    samples = tuple(node.identity.name for node in one.nodes[:-1])
    assert (finding.status, finding.reason, finding.severity) == (
        Status.UNKNOWN,
        Reason.NOT_COLLECTED,
        Severity.BLOCKER,
    )
    assert finding.inferred_from == samples
    assert (finding.needs_survey, finding.observed) == (False, words)
    assert finding.message == (
        f"Init could not be inferred: the nodes alike that were looked at do not agree about it ({words})."
    )
    assert [entry.value for entry in finding.evidence] == list(inits)
    assert finding.remediation is not None
    assert "--probe-nodes all" in finding.remediation.text


def test_samples_that_say_the_same_of_different_things_agree() -> None:
    *_, finding = judge(nodes("systemd", "s6", (0, 1)), (BY_INIT,), RELEASE, "unknown")
    assert (finding.status, finding.observed) == (Status.PASS, "systemd or s6")
    assert [entry.value for entry in finding.evidence] == ["systemd", "s6"]


def test_what_a_sample_could_not_tell_passes_for_nobody() -> None:
    one = nodes("systemd", "?", (0, 1))
    blind = msgspec.structs.replace(one.kinds[1], init=Unknown(reason=Reason.TIMEOUT, detail="slow"))
    one = msgspec.structs.replace(one, kinds=(one.kinds[0], blind, *one.kinds[2:]))
    *_, finding = judge(one, (BY_INIT,), RELEASE, "unknown")
    assert (finding.status, finding.observed) == (Status.UNKNOWN, "pass and unknown")


def test_a_node_without_an_inference_still_needs_a_look() -> None:
    *_, finding = judge(nodes("systemd", ()), (BY_INIT,), RELEASE, "unknown")
    assert (finding.status, finding.subjects, finding.needs_survey) == (Status.UNKNOWN, ("b",), True)


def test_over_all_nodes_the_inferred_ones_count_where_samples_agree() -> None:
    need = over_nodes(NodeKind.init)

    def shares(one: Snapshot) -> list[tuple[Any, int]]:
        return [(share.fact, share.nodes) for share in gather(one, (need,), RELEASE, "unknown")[need]]

    assert shares(nodes("systemd", (0,), (0,))) == [(known("systemd"), 3)]
    assert shares(nodes("systemd", "runit", (0, 1), ())) == [
        (NOT_SURVEYED, 2),
        (known("systemd"), 1),
        (known("runit"), 1),
    ]


def test_disagreements_are_told_by_status_and_cause() -> None:
    one = nodes("systemd", "s6", "runit", "openrc")
    groups = ((0, 1), (0, 2), (2, 3), (0,), (), (0, 1, 3))
    assert disagreements(one, (BY_INIT, BY_FELIX), RELEASE, "unknown", groups) == [
        False, True, True, False, False, True,
    ]  # fmt: skip
    cluster = check(id="c", title="c", category="c", severity=Severity.NOTE, needs=(), scope="cluster")
    assert disagreements(one, (cluster(lambda _: passed("p", "p")),), RELEASE, "unknown", groups) == [False] * 6


def test_settings_of_felix_are_no_disagreement() -> None:
    kinds = tuple(kind(init=known("systemd"), felix=known(FelixSettings(bpf_enabled=one))) for one in (True, False))
    one = snapshot(*kinds)
    assert [status for status, *_ in told(one, BY_FELIX)] == [Status.FAIL, Status.PASS]
    assert disagreements(one, (BY_FELIX,), RELEASE, "unknown", ((0, 1),)) == [False]


SEEN = Coverage(nodes_total=3, nodes_surveyed=1, nodes_inferred=2)


@pytest.mark.parametrize(
    ("coverage", "scope", "verdict"),
    [
        (SEEN, "nodes", Verdict.READY),
        (msgspec.structs.replace(SEEN, nodes_inferred=1), "nodes", Verdict.INCONCLUSIVE),
        (msgspec.structs.replace(SEEN, nodes_inferred=1), "api", Verdict.READY),
        (msgspec.structs.replace(SEEN, nodes_total=4, nodes_unlisted=1), "nodes", Verdict.INCONCLUSIVE),
        (msgspec.structs.replace(SEEN, nodes_total=4, nodes_unlisted=1), "api", Verdict.INCONCLUSIVE),
    ],
)
def test_inferred_nodes_are_enough_to_be_ready(coverage: Coverage, scope: Any, verdict: Verdict) -> None:
    findings = judge(nodes("systemd", (0,), (0,)), (BY_INIT,), RELEASE, "unknown")
    assert decide(findings, coverage, scope=scope) is verdict


def test_samples_that_differ_are_inconclusive() -> None:
    one = nodes("systemd", "sysv", (0, 1))
    assert decide(judge(one, (BY_INIT,), RELEASE, "unknown"), coverage_of(one)) is Verdict.INCONCLUSIVE


def unseen(name: str) -> Unseen:
    return Unseen(name=name, reason=Reason.TIMEOUT, detail="too slow")


def test_a_node_that_could_not_be_looked_at_is_told_of_and_counted_once() -> None:
    one = nodes("systemd", (0,), ())
    failed = msgspec.structs.replace(one, unseen=(unseen("b"), unseen("c")))
    coverage = coverage_of(failed)
    assert (coverage.nodes_total, coverage.nodes_surveyed, coverage.nodes_inferred) == (3, 1, 1)
    assert (coverage.nodes_unlisted, coverage.unseen) == (0, failed.unseen)
    short = msgspec.structs.replace(failed, unseen=(*failed.unseen, unseen("(nodes that were not listed)")))
    assert (coverage_of(short).nodes_total, coverage_of(short).nodes_unlisted) == (4, 1)


def test_another_node_may_be_called_like_one_that_was_looked_at() -> None:
    one = msgspec.structs.replace(nodes("systemd"), unseen=(unseen("a"),))
    coverage = coverage_of(one)
    assert (coverage.nodes_total, coverage.nodes_unlisted) == (2, 1)
    assert decide(judge(one, (BY_INIT,), RELEASE, "unknown"), coverage) is Verdict.INCONCLUSIVE


def test_many_inferred_nodes_are_judged_by_their_kinds() -> None:
    seen: list[str] = []

    def judge_with(given: Given) -> Outcome:
        seen.append(given[INIT])
        return passed(given[INIT], "good")

    few = nodes("systemd", "runit", "openrc", "s6", "sysv", (0,), (1,), (2,), (3,), (4,))
    templates = few.nodes[5:]
    many = tuple(
        msgspec.structs.replace(templates[number % 5], identity=NodeIdentity(name=f"n{number:06}"))
        for number in range(100_000)
    )
    one = msgspec.structs.replace(few, nodes=(*few.nodes[:5], *many))
    checks = [checking(judge_with, f"test.{number}") for number in range(20)]
    findings = judge(one, checks, RELEASE, "unknown")
    assert Counter(seen) == dict.fromkeys(("systemd", "runit", "openrc", "s6", "sysv"), 20)
    assert len(findings) == 20 * 10
    assert [len(finding.subjects) for finding in findings[:10]] == [1] * 5 + [20_000] * 5
    assert len({id(finding.subjects) for finding in findings}) == 10, "the same nodes are listed once"


FACTS = st.fixed_dictionaries(
    {
        "init": st.sampled_from(["systemd", "runit", "openrc", "s6", "sysv", None]),
        "btf": st.sampled_from([True, False, None]),
    }
)
APPEARANCE = st.tuples(st.integers(0, 2), st.booleans())


@st.composite
def clusters(draw: st.DrawFn) -> Snapshot:
    """A cluster of random nodes in random cohorts, some of which were surveyed."""
    looks = draw(st.lists(APPEARANCE, min_size=1, max_size=9))
    kinds = list(dict.fromkeys(looks))
    api = msgspec.structs.replace(
        snapshot(),
        kinds=tuple(
            kind(
                **dict.fromkeys(("init", "vmlinux_btf"), NOT_SURVEYED),
                kernel_release=known(f"6.{release}"),
                felix=known(FelixSettings(bpf_enabled=has_bpf)),
            )
            for release, has_bpf in kinds
        ),
        nodes=tuple(
            Node(identity=NodeIdentity(name=f"node-{number}"), kind=kinds.index(look), surveyed=False)
            for number, look in enumerate(looks)
        ),
    )
    members = {look[0]: [n for n, one in enumerate(looks) if one[0] == look[0]] for look in looks}
    groups = [
        Cohort(members=tuple(some), zones=("",) * len(some), ready=(None,) * len(some)) for some in members.values()
    ]
    surveys = {}
    for index in draw(st.sets(st.integers(0, len(looks) - 1))):
        told = draw(FACTS)
        lost = Unknown(reason=Reason.TIMEOUT, detail="slow")
        facts = kind(
            init=known(told["init"]) if told["init"] else lost,
            vmlinux_btf=lost if told["btf"] is None else known(told["btf"]),
        )
        surveys[index] = NodeFacts(identity=NodeIdentity(name="x"), kind=facts)
    return with_surveys(api, surveys, groups, SourceIndex.of(api.sources))


@settings(max_examples=150, deadline=None)
@given(clusters())
def test_whatever_was_seen_and_inferred(one: Snapshot) -> None:
    assert decode_snapshot(encode_snapshot(one)) == one
    built_in = [each for each in BUILTIN if each.scope == "node"][:3]
    by_check: dict[str, list[Finding]] = {}
    for finding in judge(one, (BY_INIT, BY_FELIX, *built_in), RELEASE, "unknown"):
        by_check.setdefault(finding.id, []).append(finding)
    inferences = {node.identity.name: node.inference for node in one.nodes}
    for findings in by_check.values():
        subjects = Counter(name for finding in findings for name in finding.subjects)
        assert subjects == dict.fromkeys(inferences, 1)
        for finding in findings:
            for name in finding.subjects:
                number = inferences[name]
                samples = () if number is None else one.inferences[number].samples
                assert finding.inferred_from == tuple(one.nodes[sample].identity.name for sample in samples)
    said = {name: finding.status for finding in by_check["test.init"] for name in finding.subjects}
    for finding in by_check["test.init"]:
        if finding.status is Status.PASS:
            assert {said[sample] for sample in finding.inferred_from} <= {Status.PASS}
    differ = {finding.inferred_from for finding in by_check["test.init"] if "could not be inferred" in finding.message}
    groups = [inference.samples for inference in one.inferences]
    found = disagreements(one, (BY_INIT, BY_FELIX), RELEASE, "unknown", groups)
    assert found == [tuple(one.nodes[sample].identity.name for sample in group) in differ for group in groups]
