"""The report for people: the verdict first, then what is wrong, each with what was seen, needed and what to do."""

from collections import Counter

from ebpfcheck.model.report import Finding, Report, Severity, Status, gating_verdict
from ebpfcheck.model.snapshot import Unseen
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import LABEL_WIDTH, STATUS_COLORS, VERDICT_COLORS, Page
from ebpfcheck.render.words import (
    STATUS_WORDS,
    WORST_FIRST,
    against_baseline,
    context,
    costs,
    discovered,
    fits_a_row,
    headline,
    names,
    override,
    problem_line,
    status_word,
    unseen_line,
    unseen_together,
    verdict_words,
)

_SHOWN_NAMES = 5
_SHOWN_REASONS = 10


def render(report: Report, options: RenderOptions) -> str:
    """Return the report as text of the given width; ASCII apart from what nodes and clusters call themselves."""
    page = Page(options)
    page.opening(headline(report), verdict_words(report), VERDICT_COLORS[report.verdict])
    if options.verbosity >= 0:
        page.paragraph(context(report), "bright_black")
        _discovered(page, report)
    _baseline(page, report)
    for problem in report.problems:
        page.paragraph(problem_line(problem), "yellow")
    _unseen(page, report.coverage.unseen, options)
    folded: dict[tuple[str, str], list[Finding]] = {}
    accepted: list[Finding] = []
    for status in WORST_FIRST:
        of_status = [finding for finding in report.findings if finding.status is status]
        for finding in sorted(of_status, key=lambda one: not one.note):
            harmless = status in (Status.PASS, Status.NOT_APPLICABLE) or _cannot_matter(finding)
            # Those of a baseline stay together, too, as there may be as many.
            quiet = harmless or (finding.needs_survey and (finding.in_baseline or fits_a_row(finding)))
            if options.verbosity <= 0 and (finding.waived_by is not None or (finding.in_baseline and not quiet)):
                accepted.append(finding)
                continue
            if finding.note and options.verbosity == 0:
                page.line()
                page.labelled(*_label(finding, f"{finding.id}: {finding.message}"))
            elif quiet and (options.verbosity == 0 or (options.verbosity < 0 and not harmless)):
                folded.setdefault((finding.status, _fold(finding)), []).append(finding)
            elif options.verbosity < 0:
                if not quiet:
                    page.labelled(*_label(finding, f"{finding.id}: {finding.message}"))
            else:
                _finding(page, finding, report.coverage.nodes_total, with_evidence=options.verbosity > 0)
    if accepted and options.verbosity == 0:
        page.line()
    for finding in accepted:
        _accepted(page, finding, report.coverage.nodes_total)
    if folded and options.verbosity == 0:
        page.line()
    _folded(page, folded)
    return page.text()


def _baseline(page: Page, report: Report) -> None:
    text = against_baseline(report)
    if text:
        page.paragraph(text, VERDICT_COLORS[gating_verdict(report)])


def _unseen(page: Page, nodes: tuple[Unseen, ...], options: RenderOptions) -> None:
    """Name the nodes that were not seen, those together that have the same reason."""
    together = unseen_together(nodes)
    shown = len(together) if options.verbosity > 0 else _SHOWN_REASONS
    for group in together[:shown]:
        page.paragraph(unseen_line(group, _SHOWN_NAMES), "magenta")
    left = [group.reason for group in together[shown:] for _ in group.names]
    if left:
        counts = ", ".join(f"{number} {reason}" for reason, number in Counter(left).most_common())
        page.paragraph(f"Not seen: {len(left)} more ({counts}), shown by -v", "magenta")


_LEAD = 12
"""What the words before what was found take."""


def _discovered(page: Page, report: Report) -> None:
    rows = discovered(report)
    if rows:
        page.line()
    for label, text in rows:
        page.labelled(f"{label:>{_LEAD - 2}}", text, "bright_black", width=_LEAD)


def _label(finding: Finding, text: str) -> tuple[str, str, str]:
    """Return the word for a finding's status, a text, and the word's colour."""
    if finding.note:
        return "NOTE", text, "cyan"
    return STATUS_WORDS[finding.status], text, STATUS_COLORS[finding.status]


def _finding(page: Page, finding: Finding, total: int, *, with_evidence: bool) -> None:
    page.line()
    word, title, color = _label(finding, finding.title)
    page.heading(word, finding.id, title, color)
    if total > 1 and finding.scope == "node":
        _row(page, "on", _subjects(finding, total))
    _row(page, "", finding.message)
    if finding.inferred_from:
        _row(page, "inferred", f"from {names(finding.inferred_from, _SHOWN_NAMES)}")
    if finding.observed:
        _row(page, "seen", finding.observed)
    if finding.required:
        _row(page, "needed", finding.required)
    if override(finding):
        _row(page, "policy", override(finding))
    if finding.waived_by is not None:
        _row(page, "waived", finding.waived_by)
    if finding.in_baseline:
        _row(page, "known", "the baseline has it too")
    if finding.waiver_expired is not None:
        _row(page, "expired", f"the waiver: {finding.waiver_expired}")
    if finding.remediation is not None:
        _row(page, "do this", finding.remediation.text + costs(finding))
        for command in finding.remediation.commands:
            # Never wrapped: a command is there to be copied.
            page.line(f"{'':{LABEL_WIDTH}}$ {command}")
    for entry in finding.evidence if with_evidence else ():
        where = f" [{entry.source.kind} {entry.source.locator}]" if entry.source else ""
        _row(page, "evidence", f"{entry.fact} = {entry.value}{where}")
    if finding.status in (Status.FAIL, Status.WARN, Status.UNKNOWN):
        _row(page, "more", f"ebpfcheck checks {finding.id}")


def _accepted(page: Page, finding: Finding, total: int) -> None:
    on = f" on {_subjects(finding, total)}" if total > 1 and finding.scope == "node" else ""
    why = finding.message if finding.waived_by is None else finding.waived_by
    page.labelled(status_word(finding), f"{finding.id} ({finding.status}){on}: {why}", "bright_black")


def _row(page: Page, label: str, text: str) -> None:
    page.labelled(f"{label:>{LABEL_WIDTH - 1}}", text, "bright_black")


def _subjects(finding: Finding, total: int) -> str:
    return f"{len(finding.subjects):,} of {total:,} nodes: {names(finding.subjects, _SHOWN_NAMES)}"


def _cannot_matter(finding: Finding) -> bool:
    """Whether a finding is unknown, but of a check that could not even have warned."""
    return finding.status is Status.UNKNOWN and finding.severity is Severity.NOTE


def _fold(finding: Finding) -> str:
    """Return what findings that are told of in one line have in common; ends with a colon where their ids follow."""
    if finding.needs_survey and not _cannot_matter(finding):
        return " that only a look at the nodes tells (--probe exec or pod, or `ebpfcheck node`), shown by -v:"
    if finding.status is Status.UNKNOWN:
        return " (which cannot matter), shown by -v:"
    # What holds is not named, as there is much of it.
    return ", shown by -v"


def _folded(page: Page, folded: dict[tuple[str, str], list[Finding]]) -> None:
    for (_, what), findings in folded.items():
        ids = ", ".join(dict.fromkeys(finding.id for finding in findings)) if what.endswith(":") else ""
        page.labelled(*_label(findings[0], f"{len(findings)}{what} {ids}".rstrip()))
