"""One self-contained page of HTML to hand around: no scripts, nothing from elsewhere, and fit to be printed."""

from collections.abc import Iterator
from html import escape

from ebpfcheck.model.report import Finding, Report, Status
from ebpfcheck.model.text import MARKUP_ESCAPES, visible, without_commands
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.words import (
    against_baseline,
    context,
    discovered,
    facets,
    fits_a_row,
    headline,
    is_accepted,
    is_open,
    problem_line,
    status_word,
    title,
    unseen_line,
    unseen_together,
    where,
    worst_first,
)

_NAMES_IN_TABLE, _NAMES = 5, 1000
_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --red: #b3261e; --amber: #8a5a00; --violet: #7a3db8;
  --green: #1b6e3c; --blue: #1f5fa8; }
@media (prefers-color-scheme: dark) { :root { --red: #ff8a80; --amber: #ffc965; --violet: #d0a5ff; --green: #7fd99f;
  --blue: #8fc1ff; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0 0 .3rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top; }
th { white-space: nowrap; } td:nth-child(2) { min-width: 11em; } td:nth-child(3) { min-width: 8em; }
thead { display: table-header-group; }
section { border-left: .3rem solid var(--line); padding: .2rem 0 .2rem 1rem; margin: 1.5rem 0; break-inside: avoid; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { opacity: .7; } dd { margin: 0; }
pre { background: #8882; padding: .6rem; white-space: pre-wrap; }
.status { font-weight: 700; white-space: nowrap; }
.fail, .not_ready { color: var(--red); border-color: var(--red); }
.warn, .ready_with_warnings { color: var(--amber); border-color: var(--amber); }
.unknown, .inconclusive { color: var(--violet); border-color: var(--violet); }
.pass, .ready { color: var(--green); border-color: var(--green); }
.note, .accepted { color: var(--blue); border-color: var(--blue); }
footer { opacity: .7; margin-top: 2rem; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } a { color: inherit; text-decoration: none; }
  details:not([open]) { display: none; } }
"""


def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 - the renderers' one shape
    """Return the page; of each finding 1,000 subjects are named at most, and the others counted."""
    return without_commands("\n".join(_page(report)) + "\n", MARKUP_ESCAPES)


def _page(report: Report) -> Iterator[str]:
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>{_text(f'ebpfcheck: {title(report)}: {report.target.name}')}</title>"
    yield f"<style>\n{_STYLE}</style>"
    yield "</head>"
    yield "<body>"
    yield f'<h1 class="{report.verdict.value}">{_text(title(report))}</h1>'
    yield f"<p><strong>{_text(headline(report))}</strong></p>"
    yield f"<p>{_text(context(report))}</p>"
    if report.baseline is not None:
        yield f"<p>{_text(against_baseline(report))}</p>"
    rows = discovered(report)
    if rows:
        yield "<dl>"
        yield from (f"<dt>{_text(label)}</dt><dd>{_text(text)}</dd>" for label, text in rows)
        yield "</dl>"
    yield from _notes(report)
    findings = worst_first(report.findings)
    if findings:
        yield from _table(report, findings)
    for finding in findings:
        if is_open(finding) and not fits_a_row(finding):
            yield from _section(report, finding)
    at = report.started_at.strftime("%Y-%m-%d %H:%M UTC")
    yield f"<footer>ebpfcheck {_text(report.tool.version)}, knowledge of {_text(report.tool.knowledge)}, {at}</footer>"
    yield "</body>"
    yield "</html>"


def _notes(report: Report) -> Iterator[str]:
    notes = [problem_line(problem) for problem in report.problems]
    notes += [unseen_line(group, _NAMES) for group in unseen_together(report.coverage.unseen)]
    if notes:
        yield "<ul>"
        yield from (f"<li>{_text(note)}</li>" for note in notes)
        yield "</ul>"


def _table(report: Report, findings: list[Finding]) -> Iterator[str]:
    yield "<table>"
    yield "<thead><tr><th>Status</th><th>Check</th><th>On</th><th>Finding</th></tr></thead>"
    yield "<tbody>"
    for finding in findings:
        cells = (where(report, finding, _NAMES_IN_TABLE), finding.message)
        shown = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        yield f"<tr><td>{_status(finding)}</td><td>{_check(finding)}</td>{shown}</tr>"
    yield "</tbody>"
    yield "</table>"


def _section(report: Report, finding: Finding) -> Iterator[str]:
    yield f'<section class="{_class(finding)}">'
    yield f"<h2>{_status(finding)} {_text(finding.title)}</h2>"
    yield f"<p>{_text(finding.message)}</p>"
    yield "<dl>"
    yield f"<dt>check</dt><dd>{_check(finding)}</dd>"
    for label, text in facets(report, finding, _NAMES):
        yield f"<dt>{_text(label)}</dt><dd>{_text(text)}</dd>"
    yield "</dl>"
    if finding.remediation is not None and finding.remediation.commands:
        lines = "\n".join(_text(command) for command in finding.remediation.commands)
        yield f"<pre>{lines}</pre>"
    if finding.evidence:
        yield "<details><summary>Evidence</summary><dl>"
        for entry in finding.evidence:
            source = f" [{entry.source.kind} {entry.source.locator}]" if entry.source is not None else ""
            yield f"<dt>{_text(entry.fact)}</dt><dd>{_text(entry.value + source)}</dd>"
        yield "</dl></details>"
    yield "</section>"


def _status(finding: Finding) -> str:
    return f'<span class="status {_class(finding)}">{_text(status_word(finding))}</span>'


def _class(finding: Finding) -> str:
    if is_accepted(finding):
        return "accepted"
    return "note" if finding.note and finding.status is Status.PASS else finding.status.value


def _check(finding: Finding) -> str:
    """Return the check's id, as a link where it has a page."""
    name = _text(finding.id)
    if not finding.docs_url.startswith("https://"):
        return name
    return f'<a href="{_text(finding.docs_url)}" rel="noreferrer">{name}</a>'


def _text(text: str) -> str:
    return escape(visible(text))
