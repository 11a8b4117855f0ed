"""Reports that no cluster has to be found for, and what is unpleasant to put into a document."""

from datetime import UTC, datetime
from typing import Any

from ebpfcheck.engine import decide, summarize
from ebpfcheck.exitcodes import FailOn, exit_code
from ebpfcheck.model.report import (
    BaselineUse,
    CalicoTarget,
    Coverage,
    Finding,
    Report,
    ReportTarget,
    Selection,
    Severity,
    Status,
    Tool,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--><!-- ]]> &lt;&amp;&#x41;",
    "a | b || c \\| d",
    "[link](https://evil.example) ![x](y) <https://evil.example> https://evil.example www.evil.example",
    "`code` ``two`` ```\nfence\n```",
    "# heading\n\n- item\n1. one\n> quote\n---\n===",
    "1. one",
    "- item",
    "    indented",
    "::error title=x::y",
    "%0A::error::%0D%25",
    "##[error]x",
    "::set-output name=a::b\r\n::stop-commands::t",
    "a,b:c=d",
    "\x00\x01\x08\x0b\x1b[31mred\x1b[0m\x7f\x85",
    "\ud800 \udfff",
    "\u2028\u2029\u202e\ufeff\ufffe\uffff\U0001fffe",
    "{0} {{1}} [2](3)",
    "$x^2$ :tada: ~~gone~~ *b* _i_ @user #1",
    "../../etc/passwd",
    "x" * 10_000,
    "",
    " ",
)


def finding(status: Status = Status.FAIL, **more: Any) -> Finding:
    """A finding of a node, a blocker, unless MORE says otherwise."""
    given: dict[str, Any] = {
        "id": "node.test",
        "title": "A check",
        "category": "test",
        "scope": "node",
        "severity": Severity.BLOCKER,
        "status": status,
        "subjects": ("node-1",),
        "message": "It is so.",
        "docs_url": "https://example.com/node.test.md",
        "fingerprint": "f" * 64,
    }
    return Finding(**(given | more))


def report(*findings: Finding, fail_on: FailOn = "fail", **more: Any) -> Report:
    """A report of a cluster whose nodes were all looked at, judged as they all are, unless MORE says otherwise.

    It is held against a baseline if that has one of the findings.
    """
    nodes = {name for one in findings if one.scope == "node" for name in one.subjects}
    coverage = more.pop("coverage", None)
    coverage = coverage or Coverage(nodes_total=max(len(nodes), 2), nodes_surveyed=max(len(nodes), 2))
    scope = more.get("scope", "nodes")
    verdict = decide(findings, coverage, scope=scope)
    gating = decide([one for one in findings if not one.in_baseline], coverage, scope=scope)
    known = sum(one.in_baseline for one in findings)
    baseline = BaselineUse(
        file="before.json",
        finished_at=NOW,
        knowledge="2026-01-01",
        calico="v3.31.0",
        known=known,
        new=0,
        verdict=gating,
    )
    given: dict[str, Any] = {
        "tool": Tool(version="1.2.3", knowledge="2026-01-01"),
        "command": "cluster",
        "started_at": NOW,
        "finished_at": NOW,
        "target": ReportTarget(kind="cluster", name="cluster prod", context="prod"),
        "calico": CalicoTarget(version="v3.32.1", source="flag", install="operator"),
        "verdict": verdict,
        "exit_code": exit_code(gating, fail_on),
        "coverage": coverage,
        "selection": Selection(run=1),
        "summary": summarize(findings),
        "findings": findings,
        "baseline": baseline if known else None,
    }
    return Report(**(given | more))
