"""Severities that a policy raises or lowers."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpfcheck.app import Judge
from ebpfcheck.engine import decide
from ebpfcheck.model.report import Coverage, Finding, SettingUse, Severity, Status, Verdict
from ebpfcheck.policy.severity import SeverityRule, reweigh
from ebpfcheck.render import RENDERERS, RenderOptions, renderer
from ebpfcheck.settings import Settings
from tests.builders import finding, kind, known, snapshot

P, W, F, U, N = Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.NOT_APPLICABLE
BLOCKER, DEGRADE, NOTE = Severity.BLOCKER, Severity.DEGRADE, Severity.NOTE
WHOLE = Coverage(nodes_total=1, nodes_surveyed=1)
BADNESS = [Verdict.READY, Verdict.READY_WITH_WARNINGS, Verdict.INCONCLUSIVE, Verdict.NOT_READY]


def rule(severity: Severity, id: str = "*") -> SeverityRule:
    return SeverityRule(id=id, severity=severity, line="p:1")


def of(status: Status, severity: Severity) -> Finding:
    return msgspec.structs.replace(finding(status, "n1"), severity=severity)


@pytest.mark.parametrize(
    ("status", "severity", "wanted", "becomes"),
    [
        (F, BLOCKER, DEGRADE, (W, DEGRADE)),
        (F, BLOCKER, BLOCKER, (F, BLOCKER)),
        (W, BLOCKER, DEGRADE, (W, DEGRADE)),
        # What a blocker only warns of is no fail of it.
        (W, BLOCKER, BLOCKER, (W, BLOCKER)),
        (W, DEGRADE, BLOCKER, (F, BLOCKER)),
        (W, NOTE, BLOCKER, (F, BLOCKER)),
        (W, NOTE, DEGRADE, (W, DEGRADE)),
        (U, BLOCKER, DEGRADE, (U, BLOCKER)),
        (U, DEGRADE, BLOCKER, (U, BLOCKER)),
        (U, NOTE, DEGRADE, (U, DEGRADE)),
        (P, BLOCKER, DEGRADE, (P, BLOCKER)),
        (P, NOTE, BLOCKER, (P, NOTE)),
        (N, DEGRADE, BLOCKER, (N, DEGRADE)),
    ],
)
def test_what_becomes_of_each(
    status: Status, severity: Severity, wanted: Severity, becomes: tuple[Status, Severity]
) -> None:
    before = of(status, severity)
    (after,) = reweigh([before], [rule(wanted)])
    assert (after.status, after.severity) == becomes
    if becomes == (status, severity):
        assert after is before
    else:
        assert after.overridden is not None
        assert (after.overridden.status, after.overridden.severity, after.overridden.by) == (status, severity, "p:1")
    assert after.fingerprint == before.fingerprint


def test_of_several_rules_the_last_counts() -> None:
    rules = [rule(BLOCKER, "node.*"), rule(DEGRADE, "node.a"), rule(BLOCKER, "node.b")]
    assert reweigh([of(F, BLOCKER)], rules)[0].status is W
    assert reweigh([of(F, BLOCKER)], rules[:1])[0].status is F
    assert reweigh([of(F, BLOCKER)], [rule(DEGRADE, "cluster.*")]) == (of(F, BLOCKER),)


@given(
    st.lists(st.tuples(st.sampled_from(list(Status)), st.sampled_from([BLOCKER, DEGRADE])), max_size=4),
    st.sampled_from([BLOCKER, DEGRADE]),
)
def test_nothing_unknown_passes_by_a_severity(pairs: list[tuple[Status, Severity]], wanted: Severity) -> None:
    findings = [of(status, severity) for status, severity in pairs if (status, severity) != (F, DEGRADE)]
    after = reweigh(findings, [rule(wanted)])
    assert len(after) == len(findings)
    for old, new in zip(findings, after, strict=True):
        assert (old.status in (F, W)) == (new.status in (F, W))
        assert (old.status is U) == (new.status is U)
        assert old.status is new.status or {old.status, new.status} == {F, W}
    if any(one.status is U and one.severity is BLOCKER for one in findings):
        assert BADNESS.index(decide(after, WHOLE)) >= BADNESS.index(Verdict.INCONCLUSIVE)
    if any(one.status in (F, W) for one in findings):
        assert decide(after, WHOLE) is not Verdict.READY


@pytest.mark.parametrize("name", RENDERERS)
def test_every_format_says_what_the_check_itself_says(name: str) -> None:
    settings = Settings(
        calico_version="v3.32.1",
        severities=(SeverityRule(id="node.arch", severity=DEGRADE, line="policy.toml:17"),),
        sources=(SettingUse(name="severity of node.arch", origin="policy.toml:17"),),
    )
    report = Judge(settings).report(snapshot(kind(arch=known("riscv64"))), "evaluate", datetime(2027, 1, 1, tzinfo=UTC))
    assert [one.status for one in report.findings if one.id == "node.arch"] == [W]
    text = renderer(name)(report, RenderOptions(width=200))
    of_finding = ("the check itself says FAIL; policy.toml:17", '"by": "policy.toml:17"', '"by":"policy.toml:17"')
    assert any(words in text for words in of_finding), text
