"""The report for people: the verdict first, then what is wrong, each with what was seen, needed and what to do."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.text import Text

from ebpfcheck.model.report import Finding, Remediation, Report, Severity, Status, Verdict
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import STATUS_STYLES, STATUS_WORDS, hanging, to_text

_SHOWN_SUBJECTS = 5
_WORST_FIRST = (Status.FAIL, Status.WARN, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE)
_SOURCES = {
    "flag": "as asked",
    "cluster": "what the cluster runs",
    "default": "the newest known; --calico-version picks another",
}


def render(report: Report, options: RenderOptions) -> str:
    """Return the report as text of the given width; ASCII apart from what nodes and clusters call themselves."""
    parts: list[RenderableType] = [_verdict(report)]
    if options.verbosity >= 0:
        parts.append(_context(report))
    parts.extend(_problems(report))
    total = report.coverage.nodes_total
    folded: dict[Status, list[Finding]] = {}
    for status in _WORST_FIRST:
        for finding in (finding for finding in report.findings if finding.status is status):
            quiet = status in (Status.PASS, Status.NOT_APPLICABLE) or _cannot_matter(finding)
            if options.verbosity < 0:
                if not quiet:
                    parts.append(_line(finding))
            elif quiet and options.verbosity == 0:
                folded.setdefault(status, []).append(finding)
            else:
                parts.extend(_finding(finding, options, total))
    parts.extend(_folded(folded))
    return to_text(parts, options)


def _verdict(report: Report) -> RenderableType:
    summary, target = report.summary, report.target.name
    release = f"Calico {report.calico.version} in eBPF mode"
    scope = "As far as the API can tell: " if report.scope == "api" else ""
    counts = ", ".join(
        f"{number} {word}"
        for number, word in ((summary.fail, "fail"), (summary.warn, "warn"), (summary.unknown, "unknown"))
        if number
    )
    words, style, text = {
        Verdict.READY: ("READY", "bold green", f"{target}, {release}"),
        Verdict.READY_WITH_WARNINGS: ("READY, WITH WARNINGS", "bold yellow", f"{target}, {release}"),
        Verdict.NOT_READY: ("NOT READY", "bold red", f"{target}, {release}"),
        Verdict.INCONCLUSIVE: ("INCONCLUSIVE", "bold magenta", f"{target}, {release}"),
    }[report.verdict]
    run, every = report.selection.run, report.selection.run + len(report.selection.skipped)
    by = f" by {run} of {every} checks" if run < every else ""
    return Text.assemble(scope, (words, style), f"{by}: {text}", f" ({counts})" if counts else "")


def _context(report: Report) -> RenderableType:
    calico, coverage = report.calico, report.coverage
    parts = [f"Judged for Calico {calico.version} ({_SOURCES[calico.source]})"]
    if calico.install != "unknown":
        parts.append(f"installed by {calico.install}")
    if coverage.nodes_total > 1 or coverage.unseen:
        parts.append(f"{coverage.nodes_surveyed} of {coverage.nodes_total} nodes looked at")
    if calico.remark:
        parts.append(calico.remark)
    text = "; ".join(parts) + "."
    if report.target.kind != "cluster":
        text += " The cluster's own settings (Felix, kube-proxy, API address) were not looked at."
    return Text(text, style="dim")


def _problems(report: Report) -> Iterable[RenderableType]:
    for problem in report.problems:
        yield Text(f"Problem: {problem.source}: {problem.detail} ({problem.reason})", style="yellow")
    for node in report.coverage.unseen:
        yield Text(f"Not seen: {node.name}: {node.detail} ({node.reason})", style="magenta")


def _word(finding: Finding) -> tuple[str, str]:
    if finding.note:
        return "NOTE", "cyan"
    return STATUS_WORDS[finding.status], STATUS_STYLES[finding.status]


def _line(finding: Finding) -> RenderableType:
    word, style = _word(finding)
    return hanging(word, style, f"{finding.id}: {finding.message}")


def _finding(finding: Finding, options: RenderOptions, total: int) -> Iterable[RenderableType]:
    word, style = _word(finding)
    yield Text.assemble("\n", (f"{word:<9}", style), (finding.id, "bold"), f"  {finding.title}")
    if total > 1 and finding.scope == "node":
        yield _row("on", _subjects(finding, total))
    yield _row("", finding.message)
    if finding.inferred_from:
        yield _row("inferred", f"from {', '.join(finding.inferred_from)}")
    if finding.observed:
        yield _row("seen", finding.observed)
    if finding.required:
        yield _row("needed", finding.required)
    if finding.remediation is not None:
        yield from _remedy(finding.remediation)
    if options.verbosity > 0:
        for entry in finding.evidence:
            where = f" [{entry.source.kind} {entry.source.locator}]" if entry.source else ""
            yield _row("evidence", f"{entry.fact} = {entry.value}{where}")
    if finding.status in (Status.FAIL, Status.WARN, Status.UNKNOWN):
        yield _row("more", f"ebpfcheck checks {finding.id}")


def _remedy(fix: Remediation) -> Iterable[RenderableType]:
    costs = ["needs a reboot"] if fix.needs_reboot else []
    costs += ["disrupts what runs there"] if fix.disruptive else []
    yield _row("do this", fix.text + (f" ({', '.join(costs)})" if costs else ""))
    for command in fix.commands:
        # Never wrapped: a command is there to be copied.
        yield Text(f"{'':9}$ {command}", no_wrap=True, overflow="ignore")


def _row(label: str, text: str) -> RenderableType:
    return hanging(f"{label:>8}", "dim", text)


def _subjects(finding: Finding, total: int) -> str:
    shown = ", ".join(finding.subjects[:_SHOWN_SUBJECTS])
    left = len(finding.subjects) - _SHOWN_SUBJECTS
    return f"{len(finding.subjects)} of {total} nodes: {shown}" + (f" and {left} more" if left > 0 else "")


def _cannot_matter(finding: Finding) -> bool:
    """Whether a finding is unknown, but of a check that could not even have warned."""
    return finding.status is Status.UNKNOWN and finding.severity is Severity.NOTE


def _folded(folded: dict[Status, list[Finding]]) -> Iterable[RenderableType]:
    if not folded:
        return
    yield Text("")
    for status, findings in folded.items():
        notes = sum(finding.note for finding in findings)
        extra = f" ({notes} with a note)" if notes else " (which cannot matter)" if status is Status.UNKNOWN else ""
        ids = ", ".join(dict.fromkeys(finding.id for finding in findings))
        yield hanging(STATUS_WORDS[status], STATUS_STYLES[status], f"{len(findings)}{extra}, shown by -v: {ids}")
