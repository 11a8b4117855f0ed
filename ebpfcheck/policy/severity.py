"""How a policy counts what checks say: fails as warnings, or warnings as fails."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from ebpfcheck.model.report import Finding, Override, Severity, Status


class SeverityRule(msgspec.Struct, frozen=True, kw_only=True):
    """What checks of this id, or glob, are to count as."""

    id: str
    severity: Severity
    line: str
    """FILE:LINE."""


def reweigh(findings: Iterable[Finding], rules: Sequence[SeverityRule]) -> tuple[Finding, ...]:
    """Return the findings as the last rule that matches each wants them counted.

    A blocker that is to be a degrade fails no more, but warns; a degrade that is to be a blocker fails where it warned.
    What is unknown stays so, and decides where either severity lets it: nobody has seen that it is not the worst.
    """
    return tuple(_reweighed(finding, rules) for finding in findings)


_WORST_FIRST = list(Severity)


def _reweighed(finding: Finding, rules: Sequence[SeverityRule]) -> Finding:
    rule = next((one for one in reversed(rules) if fnmatchcase(finding.id, one.id)), None)
    if rule is None or rule.severity is finding.severity:
        return finding
    is_raised = _WORST_FIRST.index(rule.severity) < _WORST_FIRST.index(finding.severity)
    status = {
        (Status.WARN, True): Status.FAIL if rule.severity is Severity.BLOCKER else Status.WARN,
        (Status.UNKNOWN, True): Status.UNKNOWN,
        (Status.FAIL, False): Status.WARN,
        (Status.WARN, False): Status.WARN,
    }.get((finding.status, is_raised))
    if status is None:
        return finding
    return msgspec.structs.replace(
        finding,
        status=status,
        severity=rule.severity,
        overridden=Override(status=finding.status, severity=finding.severity, by=rule.line),
    )
