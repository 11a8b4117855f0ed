"""Commands for a GitHub Actions runner, which makes annotations of them; the summary of the job is Markdown's."""

from collections.abc import Iterator

from ebpfcheck.model.report import Finding, Report, Severity, Status, Verdict, gating_verdict
from ebpfcheck.model.text import visible
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.words import (
    against_baseline,
    context,
    decides,
    facets,
    headline,
    is_accepted,
    is_open,
    names,
    status_word,
    unseen_together,
    worst_first,
)

_NAMES = 20


def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return a command a finding that is more than right, the verdict's first; of each 20 subjects are named at most.

    GitHub shows the first ten errors, warnings and notices of a step each, and has all of them in the log.
    """
    return "".join(f"{line}\n" for line in _commands(report))


def _commands(report: Report) -> Iterator[str]:
    is_right = gating_verdict(report) in (Verdict.READY, Verdict.READY_WITH_WARNINGS) and not report.exit_code
    lines = [line for line in (headline(report), context(report), against_baseline(report)) if line]
    yield _command("notice" if is_right else "error", "ebpfcheck", lines)
    for finding in worst_first(report.findings):
        if is_open(finding):
            lines = [finding.message, *(f"{label}: {text}" for label, text in facets(report, finding, _NAMES))]
            yield _command(_level(report, finding), f"{status_word(finding)} {finding.id}", lines)
    for problem in report.problems:
        yield _command("warning", "Problem", [f"{problem.source}: {problem.detail} ({problem.reason})"])
    for found, detail, reason in unseen_together(report.coverage.unseen):
        yield _command("warning", "Not seen", [f"{names(found, _NAMES)}: {detail} ({reason})"])


def _level(report: Report, finding: Finding) -> str:
    if decides(report, finding):
        return "error"
    counts = not is_accepted(finding) and finding.status in (Status.WARN, Status.UNKNOWN)
    # What was not asked for is not to crowd out the first ten warnings.
    return "warning" if counts and finding.severity is not Severity.NOTE and not finding.needs_survey else "notice"


def _command(level: str, title: str, lines: list[str]) -> str:
    escaped = visible(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    message = "%0A".join(visible(line).replace("%", "%25") for line in lines)
    return f"::{level} title={escaped}::{message}"
