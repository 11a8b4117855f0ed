"""SARIF 2.1.0 for code scanning and other collectors of results: what is wrong, unknown, waived or worth reading."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from ebpfcheck.model.report import Finding, Report, Severity, Status
from ebpfcheck.model.text import JSON_ESCAPES, visible, without_commands
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.words import (
    against_baseline,
    context,
    facets,
    headline,
    is_accepted,
    is_open,
    problem_line,
    status_word,
    unseen_line,
    unseen_together,
    worst_first,
)

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# GitHub refuses a run with more results, and a result with more locations.
_RESULTS, _LOCATIONS = 25_000, 1000
_NAMES = 20
_LEVELS = {Status.FAIL: "error", Status.WARN: "warning"}


def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return a SARIF log with a result a finding, the worst first.

    What is unknown is of kind "open" and has no level of its own, which to the standard is the level "none" (3.27.10);
    GitHub, which reads no kinds, takes the rule's: a warning, or a note where it cannot matter. What passed is counted
    alone, since GitHub makes an alert of whatever is a result; what does not apply, problems and unseen nodes are
    notifications. A result has 1,000 locations at most, and says how many nodes it is about; more than 25,000 results
    go on in another run.
    """
    findings = worst_first(finding for finding in report.findings if is_open(finding))
    chunks = [findings[at : at + _RESULTS] for at in range(0, len(findings), _RESULTS)] or [[]]
    log = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [_run(report, chunk, number) for number, chunk in enumerate(chunks, start=1)],
    }
    return without_commands(json.dumps(log, indent=2) + "\n", JSON_ESCAPES)


def _run(report: Report, findings: list[Finding], number: int) -> dict[str, Any]:
    quiet = [finding for finding in report.findings if finding.status is Status.NOT_APPLICABLE and number == 1]
    rules: dict[str, Finding] = {}
    for finding in (*findings, *quiet):
        rules.setdefault(finding.id, finding)
    indices = {check: index for index, check in enumerate(rules)}
    part = "" if number == 1 else f"{number}/"
    invocation: dict[str, Any] = {
        "executionSuccessful": True,
        "exitCode": report.exit_code,
        "startTimeUtc": _utc(report, "started_at"),
        "endTimeUtc": _utc(report, "finished_at"),
        "toolExecutionNotifications": list(_notifications(report, quiet, indices)) if number == 1 else [],
    }
    return {
        "tool": {
            "driver": {
                "name": report.tool.name,
                "version": report.tool.version,
                "informationUri": "https://github.com/ebpfcheck/ebpfcheck",
                "rules": [_rule(finding) for finding in rules.values()],
            }
        },
        # GitHub keeps the alerts of each apart, so that one target's do not close another's.
        "automationDetails": {"id": f"ebpfcheck/{_path(report)}/{part}"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": list(_results(report, findings, indices)),
        "properties": {
            "verdict": report.verdict.value,
            "headline": visible(headline(report)),
            "context": visible(context(report)),
            "baseline": visible(against_baseline(report)),
            "summary": {
                "pass": report.summary.passed,
                "warn": report.summary.warn,
                "fail": report.summary.fail,
                "unknown": report.summary.unknown,
                "not_applicable": report.summary.not_applicable,
                "waived": report.summary.waived,
            },
        },
    }


def _utc(report: Report, field: str) -> str:
    moment = getattr(report, field)
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _rule(finding: Finding) -> dict[str, Any]:
    page = visible(finding.docs_url) if finding.docs_url.startswith("https://") else ""
    lead = f"{visible(finding.title)}: `ebpfcheck checks {visible(finding.id)}` says what it looks at and how to fix it"
    rule: dict[str, Any] = {
        "id": visible(finding.id),
        "name": visible(finding.title),
        "shortDescription": {"text": visible(finding.title)},
        "fullDescription": {"text": f"{visible(finding.title)} ({visible(finding.category)}), for Calico's eBPF mode"},
        "help": {"text": f"{lead}{', as does ' + page if page else ''}."},
        # What a result of kind "open" shows as on GitHub, which does not read kinds.
        "defaultConfiguration": {"level": "note" if finding.severity is Severity.NOTE else "warning"},
        "properties": {"category": visible(finding.category), "severity": finding.severity.value},
    }
    if page:
        rule["helpUri"] = quote(page, safe=":/?#@!$&'()*+,;=%~")
    return rule


def _results(report: Report, findings: list[Finding], indices: dict[str, int]) -> Iterator[dict[str, Any]]:
    taken: dict[str, int] = {}
    for finding in findings:
        marks = [finding.fingerprint]
        marks += ["inferred"] if finding.inferred_from else []
        marks += [status_word(finding).lower()] if is_accepted(finding) else []
        mark = "/".join(marks)
        taken[mark] = taken.get(mark, 0) + 1
        yield _result(report, finding, indices[finding.id], f"{mark}:{taken[mark]}")


def _result(report: Report, finding: Finding, index: int, fingerprint: str) -> dict[str, Any]:
    lines = [f"{status_word(finding)}: {visible(finding.message)}"]
    lines += [f"{label}: {text}" for label, text in facets(report, finding, _NAMES)]
    if finding.remediation is not None:
        lines += [f"$ {visible(command)}" for command in finding.remediation.commands]
    result: dict[str, Any] = {
        "ruleId": visible(finding.id),
        "ruleIndex": index,
        **_kind(finding),
        # In messages brackets make links and braces stand for arguments.
        "message": {"text": _literal("\n".join(lines))},
        "locations": [_location(report, finding)],
        "partialFingerprints": {"ebpfcheck/v1": fingerprint, "primaryLocationLineHash": fingerprint},
        "properties": {
            "status": finding.status.value,
            "severity": finding.severity.value,
            "subjects": len(finding.subjects),
            "subjectsLeftOut": max(len(finding.subjects) - _LOCATIONS, 0),
            "reason": None if finding.reason is None else finding.reason.value,
        },
    }
    if report.baseline is not None:
        result["baselineState"] = "unchanged" if finding.in_baseline else "new"
    if finding.waived_by is not None:
        waiver = {"kind": "external", "status": "accepted", "justification": visible(finding.waived_by)}
        result["suppressions"] = [waiver]
    return result


def _kind(finding: Finding) -> dict[str, str]:
    if finding.status is Status.UNKNOWN:
        return {"kind": "open"}
    if finding.note:
        return {"kind": "informational"}
    # GitHub takes no notice of suppressions.
    return {"level": "note" if is_accepted(finding) else _LEVELS[finding.status]}


def _location(report: Report, finding: Finding) -> dict[str, Any]:
    """Return the one location: code scanning asks for a file, and no file of the repository is at fault.

    What was looked at stands for it, so that alerts are listed by cluster or host.
    """
    kind = "resource"
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _path(report), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 1},
        },
        "logicalLocations": [
            {"name": visible(name), "fullyQualifiedName": f"{finding.scope}/{visible(name)}", "kind": kind}
            for name in finding.subjects[:_LOCATIONS]
        ],
    }


def _path(report: Report) -> str:
    """Return a relative path that stands for what was looked at, the same in each run."""
    if report.target.kind == "nodes":
        # Their name is but a number.
        return "nodes"
    name = quote(visible(report.target.context or report.target.name), safe="")
    # A path is not to climb.
    return f"{report.target.kind}/{name.replace('.', '%2E') if name in ('.', '..') else name}"


def _notifications(report: Report, quiet: list[Finding], indices: dict[str, int]) -> Iterator[dict[str, Any]]:
    for finding in quiet:
        text = f"{status_word(finding)}: {visible(finding.message)}"
        rule = {"id": visible(finding.id), "index": indices[finding.id]}
        yield {"level": "none", "message": {"text": _literal(text)}, "associatedRule": rule}
    for problem in report.problems:
        text = visible(problem_line(problem))
        yield {"level": "warning", "message": {"text": _literal(text)}}
    for group in unseen_together(report.coverage.unseen):
        text = visible(unseen_line(group, _LOCATIONS))
        yield {"level": "warning", "message": {"text": _literal(text)}}


def _literal(text: str) -> str:
    """Return a message text in which nothing is a link or an argument."""
    for mark in ("\\", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("{", "{{").replace("}", "}}")
