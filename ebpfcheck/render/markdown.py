"""Markdown for a change request or a job's summary: the verdict, a table, then each finding that is not right."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from ebpfcheck.model.report import Finding, Report, Status
from ebpfcheck.model.text import TEXT_ESCAPES, visible, without_commands
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.commonmark import code, fenced, paragraph, plain
from ebpfcheck.render.words import (
    against_baseline,
    context,
    discovered,
    facets,
    fits_a_row,
    headline,
    is_open,
    problem_line,
    status_word,
    title,
    unseen_line,
    unseen_together,
    where,
    worst_first,
)

_NAMES_IN_TABLE, _NAMES = 5, 50
_REASONS = 50


def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return the whole report; of each finding 50 subjects are named at most, and the others counted."""
    return _joined(_head(report), _table(report), _details(report), _quiet(report))


def shortened(report: Report, limit: int) -> str:
    """Return as much of the report as fits into so many bytes: without details, then by check, then the verdict alone.

    Each says what it leaves out; "" where not even that fits.
    """
    for parts in (
        (_table(report), _details(report), _quiet(report)),
        (_table(report), _left_out("Details are left out, as they do not fit here."), _quiet(report)),
        (_counts(report), _left_out("Single findings are left out, as they do not fit here."), _quiet(report)),
    ):
        text = _joined(_head(report), *parts)
        if len(text.encode("utf-8", "replace")) <= limit:
            return text
    text = f"## ebpfcheck: {plain(title(report))}\n\nThe report is left out, as it does not fit here.\n"
    return text if len(text) <= limit else ""


def _joined(*parts: Iterator[str]) -> str:
    return without_commands("\n".join(chain(*parts)) + "\n", TEXT_ESCAPES)


def _head(report: Report) -> Iterator[str]:
    yield f"## ebpfcheck: {plain(title(report))}"
    yield ""
    yield f"**{plain(headline(report).strip())}**"
    yield ""
    yield paragraph(context(report))
    if report.baseline is not None:
        yield ""
        yield paragraph(against_baseline(report))
    rows = discovered(report)
    if rows:
        yield ""
        yield from (f"- {label}: {plain(text)}" for label, text in rows)
    notes = [problem_line(problem) for problem in report.problems]
    unseen = unseen_together(report.coverage.unseen)
    notes += [unseen_line(group, _NAMES) for group in unseen[:_REASONS]]
    if len(unseen) > _REASONS:
        left = sum(len(group.names) for group in unseen[_REASONS:])
        notes.append(f"Not seen: {left:,} more nodes, for {len(unseen) - _REASONS:,} more reasons")
    if notes:
        yield ""
        yield from (f"- {plain(note)}" for note in notes)


def _open(report: Report) -> list[Finding]:
    return worst_first(finding for finding in report.findings if is_open(finding))


def _table(report: Report) -> Iterator[str]:
    findings = _open(report)
    if not findings:
        return
    yield ""
    yield "| Status | Check | On | Finding |"
    yield "|---|---|---|---|"
    for finding in findings:
        cells = (where(report, finding, _NAMES_IN_TABLE), finding.message)
        yield f"| {status_word(finding)} | {_check(finding)} | {' | '.join(map(plain, cells))} |"


def _counts(report: Report) -> Iterator[str]:
    """Return a table with a row for each check and status."""
    counts: dict[tuple[str, str], list[Finding]] = {}
    for finding in _open(report):
        counts.setdefault((status_word(finding), finding.id), []).append(finding)
    yield ""
    yield "| Status | Check | Findings | Subjects |"
    yield "|---|---|---|---|"
    for (word, _), findings in counts.items():
        subjects = sum(len(finding.subjects) for finding in findings)
        yield f"| {word} | {_check(findings[0])} | {len(findings):,} | {subjects:,} |"


def _left_out(words: str) -> Iterator[str]:
    yield ""
    yield plain(words)


def _details(report: Report) -> Iterator[str]:
    for finding in _open(report):
        # The table has all that there is to say of these.
        if finding.note or fits_a_row(finding):
            continue
        yield ""
        yield f"### {status_word(finding)}: {_check(finding)}: {plain(finding.title)}"
        yield ""
        yield paragraph(finding.message)
        yield ""
        for label, text in facets(report, finding, _NAMES):
            yield f"- {label}: {plain(text)}"
        if finding.remediation is not None:
            yield from fenced(finding.remediation.commands)


def _quiet(report: Report) -> Iterator[str]:
    for status, word in ((Status.PASS, "passed"), (Status.NOT_APPLICABLE, "not applicable")):
        found = Counter(one.id for one in report.findings if one.status is status and not is_open(one))
        if found:
            yield ""
            yield f"{found.total()} {word}: {', '.join(map(code, found))}"


def _check(finding: Finding) -> str:
    """Return the check's id, as a link where it has a page."""
    name = plain(finding.id)
    if not finding.docs_url.startswith("https://"):
        return name
    # Within angle brackets only these and line ends mean something, but for the bars of a table.
    address = visible(finding.docs_url)
    for character in "\\<>| ":
        address = address.replace(character, f"%{ord(character):02X}")
    return f"[{name}](<{address}>)"
