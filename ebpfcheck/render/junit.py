"""JUnit XML, which GitLab, Jenkins and most other CI systems show: one test case a check and outcome."""

from collections import Counter

import junitparser
from junitparser.junitparser import SystemOut

from ebpfcheck.model.report import Finding, Report, Status, Verdict, gating_verdict
from ebpfcheck.model.text import MARKUP_ESCAPES, visible, without_commands
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.words import (
    against_baseline,
    context,
    decides,
    facets,
    headline,
    is_accepted,
    problem_line,
    status_word,
    unseen_line,
    unseen_together,
    verdict_words,
    worst_first,
)

_NAMES = 1000
_Result = junitparser.Failure | junitparser.Error | junitparser.Skipped


def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return a test suite: what fails the gate is a failure or an error, what is merely unknown or waived is skipped.

    Where nothing but unseen nodes or lost checks keeps the verdict from being ready, that is a test case of its own. Of
    each finding 1,000 subjects are named at most, and the others counted.
    """
    suite = junitparser.TestSuite(f"ebpfcheck {visible(report.target.name)}")
    suite.timestamp = report.started_at.replace(tzinfo=None).isoformat()
    findings = worst_first(report.findings)
    cases = [_case(report, one, name) for one, name in zip(findings, _names(findings), strict=True)]
    gate = gating_verdict(report)
    if gate is Verdict.INCONCLUSIVE and not any(decides(report, finding) for finding in findings):
        verdict = junitparser.TestCase(name="verdict", classname="ebpfcheck")
        verdict.result = _result(junitparser.Error, verdict_words(report, gate), gate, _about(report))
        cases.insert(0, verdict)
    for case in cases:
        # Nothing is known of single checks, and some readers ask for a number.
        case.time = 0.0
        suite.append(case)
    suite.append(SystemOut(_about(report)))
    document = junitparser.JUnitXml("ebpfcheck")
    document.append(suite)
    # Of its own counts Jenkins takes these alone.
    suite.update_statistics()
    document.tests, document.failures, document.errors = suite.tests, suite.failures, suite.errors
    # Between two tags alone, as text and attributes have both escaped.
    lines = str(document.tostring().decode()).replace("><", ">\n<")
    return without_commands(f'<?xml version="1.0" encoding="UTF-8"?>\n{lines}\n', MARKUP_ESCAPES)


def _about(report: Report) -> str:
    """Return the verdict, what it rests on, and what was not seen."""
    lines = [visible(line) for line in (headline(report), context(report), against_baseline(report)) if line]
    lines += [visible(unseen_line(group, _NAMES)) for group in unseen_together(report.coverage.unseen)]
    lines += [visible(problem_line(problem)) for problem in report.problems]
    return "\n".join(lines)


def _case(report: Report, finding: Finding, name: str) -> junitparser.TestCase:
    case = junitparser.TestCase(name=name, classname=visible(finding.id))
    message = visible(finding.message)
    rows = [f"{label}: {text}" for label, text in facets(report, finding, _NAMES)]
    if finding.remediation is not None:
        rows += [f"$ {visible(command)}" for command in finding.remediation.commands]
    text = "\n".join((f"{status_word(finding)}: {message}", *rows, f"more: {visible(finding.docs_url)}"))
    if decides(report, finding):
        kind = junitparser.Error if finding.status is Status.UNKNOWN else junitparser.Failure
        case.result = _result(kind, message, finding.status, text)
    elif is_accepted(finding):
        word = status_word(finding).lower()
        why = "in the baseline" if finding.waived_by is None else visible(finding.waived_by)
        case.result = _result(junitparser.Skipped, f"{word} ({why}): {message}", word, text)
    elif finding.status in (Status.UNKNOWN, Status.NOT_APPLICABLE):
        case.result = _result(junitparser.Skipped, message, finding.status, text)
    else:
        case.system_out = text
    return case


def _result(kind: type[_Result], message: str, word: str, text: str) -> _Result:
    result = kind(message, word)
    result.text = text
    return result


def _names(findings: list[Finding]) -> list[str]:
    """Return a name for each test case: that of its check, and its outcome where the check has several.

    It stays the same from run to run whatever the nodes are called, as CI systems compare by it.
    """
    outcomes = Counter(finding.id for finding in findings)
    taken: Counter[str] = Counter()
    found = []
    for finding in findings:
        name = visible(finding.title)
        if outcomes[finding.id] > 1:
            more = f", {finding.fingerprint[:8]}" + (", inferred" if finding.inferred_from else "")
            name += f" ({status_word(finding).lower()}{more})"
        key = f"{finding.id}\0{name}"
        taken[key] += 1
        found.append(name if taken[key] == 1 else f"{name} #{taken[key]}")
    return found
