"""What the table says of nodes that were not looked at."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ebpfcheck.model.facts import Reason
from ebpfcheck.model.report import (
    CalicoTarget,
    Coverage,
    Finding,
    Override,
    Report,
    ReportTarget,
    Selection,
    Severity,
    Status,
    Summary,
    Tool,
    Verdict,
)
from ebpfcheck.model.snapshot import Unseen
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.table import render

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def finding(status: Status, subjects: int, samples: int, **more: Any) -> Finding:
    return Finding(
        id="node.test",
        title="A check",
        category="test",
        scope="node",
        severity=Severity.BLOCKER,
        status=status,
        subjects=tuple(f"node-{number}" for number in range(subjects)),
        inferred_from=tuple(f"sample-{number}" for number in range(samples)),
        message="It is so.",
        docs_url="",
        fingerprint="",
        **more,
    )


def shown(coverage: Coverage, *findings: Finding, verbosity: int = 0) -> str:
    report = Report(
        tool=Tool(version="t", knowledge="t"),
        command="cluster",
        started_at=NOW,
        finished_at=NOW,
        target=ReportTarget(kind="cluster", name="cluster prod"),
        calico=CalicoTarget(version="v3.32.1", source="flag", install="operator"),
        verdict=Verdict.READY,
        exit_code=0,
        coverage=coverage,
        selection=Selection(run=1),
        summary=Summary(),
        findings=findings,
    )
    return render(report, RenderOptions(width=160, verbosity=verbosity))


MANY = Coverage(nodes_total=1000, nodes_surveyed=12, nodes_inferred=988)


def test_the_samples_of_an_inferred_finding_are_named() -> None:
    text = shown(MANY, finding(Status.FAIL, 988, 2))
    assert "; 12 of 1,000 nodes looked at, 988 inferred from nodes alike." in text
    assert "on 988 of 1,000 nodes: node-0, node-1, node-2, node-3, node-4 and 983 more\n" in text
    assert "inferred from sample-0, sample-1\n" in text


def test_many_samples_are_counted() -> None:
    text = shown(MANY, finding(Status.WARN, 1, 1200))
    assert "inferred from sample-0, sample-1, sample-2, sample-3, sample-4 and 1,195 more\n" in text


def test_what_was_seen_says_nothing_of_inference() -> None:
    text = shown(Coverage(nodes_total=3, nodes_surveyed=3), finding(Status.FAIL, 3, 0))
    assert "3 of 3 nodes looked at." in text
    assert "inferred" not in text


def test_inferred_passes_stay_folded() -> None:
    assert "sample-0" not in shown(MANY, finding(Status.PASS, 988, 2))
    assert "inferred from sample-0, sample-1\n" in shown(MANY, finding(Status.PASS, 988, 2), verbosity=1)


@pytest.mark.parametrize(
    ("total", "unlisted", "words"),
    [(3, 0, "1 of 3 nodes looked at, 1 inferred"), (4, 1, "1 of at least 4 nodes looked at, 1 inferred")],
)
def test_a_node_that_could_not_be_looked_at_makes_no_list_short(total: int, unlisted: int, words: str) -> None:
    lost = Unseen(name="node-2", reason=Reason.UNREACHABLE, detail="no pod of calico-node runs there")
    coverage = Coverage(nodes_total=total, nodes_surveyed=1, nodes_inferred=1, nodes_unlisted=unlisted, unseen=(lost,))
    text = shown(coverage)
    assert words in text
    assert "Not seen: node-2: no pod of calico-node runs there (unreachable)" in text


SEEN = Coverage(nodes_total=3, nodes_surveyed=0)
WAITS = " that only a look at the nodes tells (--probe exec or pod, or `ebpfcheck node`), shown by -v: node.test"


def test_what_waits_for_a_look_is_named_even_where_little_is_shown() -> None:
    waiting = finding(Status.UNKNOWN, 3, 0, needs_survey=True)
    for verbosity in (-1, 0):
        assert f"UNKNOWN  1{WAITS}\n" in shown(SEEN, waiting, verbosity=verbosity)
    # What could not even have warned, or passed, is not.
    harmless = msgspec.structs.replace(waiting, severity=Severity.NOTE)
    assert "node.test" not in shown(SEEN, harmless, finding(Status.PASS, 3, 0), verbosity=-1)


MARKS = {
    "waiver_expired": "for the move, until 2026-01-01 (waivers.toml:3)",
    "overridden": Override(status=Status.FAIL, severity=Severity.BLOCKER, by="ebpfcheck.toml:2"),
}


@pytest.mark.parametrize("mark", MARKS)
def test_what_waits_for_a_look_is_not_folded_where_more_is_to_say(mark: str) -> None:
    marked = finding(Status.UNKNOWN, 3, 0, needs_survey=True, **{mark: MARKS[mark]})
    text = shown(SEEN, marked)
    assert "only a look" not in text
    assert "expired the waiver: for the move" in text or "policy the check itself says FAIL; ebpfcheck.toml:2" in text
    assert "UNKNOWN  node.test: It is so.\n" in shown(SEEN, marked, verbosity=-1)
    # A baseline that has it too leaves nothing to mend.
    assert f"1{WAITS}" in shown(SEEN, msgspec.structs.replace(marked, in_baseline=True))
