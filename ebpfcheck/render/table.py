"""The report for people: the verdict first, then what is wrong, each with what was seen, needed and what to do."""

from collections import Counter
from collections.abc import Sequence

from ebpfcheck.model.facts import DATAPLANE_NAMES
from ebpfcheck.model.report import Finding, Remediation, Report, Severity, Status, Verdict
from ebpfcheck.model.snapshot import Unseen
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import LABEL_WIDTH, STATUS_COLORS, STATUS_WORDS, Page

_SHOWN_NAMES = 5
_SHOWN_REASONS = 10
_WORST_FIRST = (Status.FAIL, Status.WARN, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE)
_SOURCES = {
    "flag": "as asked",
    "cluster": "what the cluster runs",
    "default": "the newest known; --calico-version picks another",
}
_VERDICTS = {
    Verdict.READY: ("READY", "green"),
    Verdict.READY_WITH_WARNINGS: ("READY, WITH WARNINGS", "yellow"),
    Verdict.NOT_READY: ("NOT READY", "red"),
    Verdict.INCONCLUSIVE: ("INCONCLUSIVE", "magenta"),
}
# Of what runs.
_VERIFIED = {
    **_VERDICTS,
    Verdict.READY: ("VERIFIED", "green"),
    Verdict.READY_WITH_WARNINGS: ("VERIFIED, WITH WARNINGS", "yellow"),
    Verdict.NOT_READY: ("NOT VERIFIED", "red"),
}


def render(report: Report, options: RenderOptions) -> str:
    """Return the report as text of the given width; ASCII apart from what nodes and clusters call themselves."""
    page = Page(options)
    _verdict(page, report)
    if options.verbosity >= 0:
        page.paragraph(_context(report), "bright_black")
        _discovered(page, report)
    if report.settings and options.verbosity >= 0:
        settings = ", ".join(f"{one.name} ({one.origin})" for one in report.settings)
        page.paragraph(f"Set by policy: {settings}.", "bright_black")
    _baseline(page, report)
    for problem in report.problems:
        page.paragraph(f"Problem: {problem.source}: {problem.detail} ({problem.reason})", "yellow")
    _unseen(page, report.coverage.unseen, options)
    folded: dict[tuple[str, str], list[Finding]] = {}
    accepted: list[Finding] = []
    for status in _WORST_FIRST:
        of_status = [finding for finding in report.findings if finding.status is status]
        for finding in sorted(of_status, key=lambda one: not one.note):
            quiet = status in (Status.PASS, Status.NOT_APPLICABLE) or _cannot_matter(finding) or finding.needs_survey
            if options.verbosity <= 0 and (finding.waived_by is not None or (finding.in_baseline and not quiet)):
                accepted.append(finding)
                continue
            if finding.note and options.verbosity == 0:
                page.line()
                page.labelled(*_label(finding, f"{finding.id}: {finding.message}"))
            elif options.verbosity < 0:
                if not quiet:
                    page.labelled(*_label(finding, f"{finding.id}: {finding.message}"))
            elif quiet and options.verbosity == 0:
                folded.setdefault((finding.status, _fold(finding)), []).append(finding)
            else:
                _finding(page, finding, report.coverage.nodes_total, with_evidence=options.verbosity > 0)
    if accepted and options.verbosity == 0:
        page.line()
    for finding in accepted:
        _accepted(page, finding, report.coverage.nodes_total)
    _folded(page, folded)
    return page.text()


def _baseline(page: Page, report: Report) -> None:
    """Say what is new since the baseline, and what would be the verdict on that alone."""
    baseline = report.baseline
    if baseline is None:
        return
    words, color = (_VERDICTS if report.expect is None else _VERIFIED)[baseline.verdict]
    page.paragraph(
        f"Baseline {baseline.file} ({baseline.finished_at:%Y-%m-%d}, Calico {baseline.calico}): {baseline.new:,} new, "
        f"{baseline.known:,} known. The exit code is of what is new: {words}.",
        color,
    )


def _unseen(page: Page, nodes: tuple[Unseen, ...], options: RenderOptions) -> None:
    """Name the nodes that were not seen, those together that have the same reason."""
    together: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        together.setdefault((node.detail, node.reason), []).append(node.name)
    shown = len(together) if options.verbosity > 0 else _SHOWN_REASONS
    for (detail, reason), names in list(together.items())[:shown]:
        page.paragraph(f"Not seen: {_names(names)}: {detail} ({reason})", "magenta")
    left = [reason for (_, reason), names in list(together.items())[shown:] for _ in names]
    if left:
        counts = ", ".join(f"{number} {reason}" for reason, number in Counter(left).most_common())
        page.paragraph(f"Not seen: {len(left)} more ({counts}), shown by -v", "magenta")


def _verdict(page: Page, report: Report) -> None:
    words, color = (_VERDICTS if report.expect is None else _VERIFIED)[report.verdict]
    summary = report.summary
    counts = ", ".join(
        f"{number} {word}"
        for number, word in (
            (summary.fail, "fail"),
            (summary.warn, "warn"),
            (summary.unknown, "unknown"),
            (summary.waived, "waived"),
        )
        if number
    )
    run, every = report.selection.run, report.selection.run + len(report.selection.skipped)
    page.opening(
        ("As far as the API can tell: " if report.scope == "api" else "")
        + words
        + (f" by {run} of {every} checks" if run < every else "")
        + f": {report.target.name}{_runs(report)} Calico {report.calico.version}"
        + f" in {DATAPLANE_NAMES[report.expect or 'bpf']}"
        + (f" ({counts})" if counts else "")
        + ("; the nodes themselves were not looked at (see --probe)" if _is_blind(report) else ""),
        words,
        color,
    )


def _runs(report: Report) -> str:
    """Return what stands between the name of what was looked at and that of Calico."""
    is_so = report.expect is not None and report.verdict in (Verdict.READY, Verdict.READY_WITH_WARNINGS)
    return " runs" if is_so else ","


def _context(report: Report) -> str:
    calico, coverage = report.calico, report.coverage
    parts = [f"Judged for Calico {calico.version} ({_SOURCES[calico.source]})"]
    if calico.install in ("operator", "manifest"):
        parts.append(f"installed by {calico.install}")
    if report.target.kind == "cluster" and not coverage.nodes_total:
        parts.append("the cluster has no nodes")
    elif coverage.nodes_total > 1 or coverage.unseen:
        least = "at least " if report.target.kind == "cluster" and coverage.nodes_unlisted else ""
        looked = f"{coverage.nodes_surveyed:,} of {least}{coverage.nodes_total:,} nodes looked at"
        if report.expect is not None:
            itself = f", {looked} themselves" if coverage.nodes_surveyed else ""
            looked = f"{least}{coverage.nodes_total:,} nodes by what calico-node shows there{itself}"
        inferred = f", {coverage.nodes_inferred:,} inferred from nodes alike" if coverage.nodes_inferred else ""
        parts.append(looked + inferred)
    if calico.remark:
        parts.append(calico.remark)
    text = "; ".join(parts) + "."
    if report.target.kind != "cluster":
        if report.calico.felix_settings is None:
            text += " The cluster's own settings (Felix, kube-proxy, API address) were not looked at."
        else:
            text += f" Felix's settings are those of {report.calico.felix_settings}; kube-proxy's and the API"
            text += " address were not looked at."
    return text


def _is_blind(report: Report) -> bool:
    """Whether a cluster's nodes were left to the API alone."""
    return report.target.kind == "cluster" and report.coverage.nodes_surveyed == 0 and report.expect is None


_LEAD = 12
"""What the words before what was found take."""


def _discovered(page: Page, report: Report) -> None:
    found, platform = report.discovered, report.target.platform
    if found is None:
        return
    endpoint = found.api_endpoint
    server = f"{endpoint.host}:{endpoint.port}, {found.api_endpoint_reason}" if endpoint else found.api_endpoint_reason
    calico = {"operator": "by the operator", "manifest": "by manifests", "none": "not installed"}
    rows = (
        ("platform", f"{platform.name} ({'; '.join(platform.evidence[:3])})" if platform else "none that is known"),
        ("Kubernetes", report.target.server_version or ""),
        ("Calico", calico.get(report.calico.install, "how it is installed is not known")),
        ("dataplane", f"{found.dataplane}, as configured" if found.dataplane else "not known"),
        ("kube-proxy", found.kube_proxy or "not known"),
        ("API server", server),
    )
    page.line()
    for label, text in rows:
        if text:
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
        _row(page, "inferred", f"from {_names(finding.inferred_from)}")
    if finding.observed:
        _row(page, "seen", finding.observed)
    if finding.required:
        _row(page, "needed", finding.required)
    if finding.overridden is not None and finding.overridden.status is not finding.status:
        was = STATUS_WORDS[finding.overridden.status]
        _row(page, "policy", f"the check itself says {was}; {finding.overridden.by} counts it otherwise")
    if finding.waived_by is not None:
        _row(page, "waived", finding.waived_by)
    if finding.in_baseline:
        _row(page, "known", "the baseline has it too")
    if finding.waiver_expired is not None:
        _row(page, "expired", f"the waiver: {finding.waiver_expired}")
    if finding.remediation is not None:
        _remedy(page, finding.remediation)
    for entry in finding.evidence if with_evidence else ():
        where = f" [{entry.source.kind} {entry.source.locator}]" if entry.source else ""
        _row(page, "evidence", f"{entry.fact} = {entry.value}{where}")
    if finding.status in (Status.FAIL, Status.WARN, Status.UNKNOWN):
        _row(page, "more", f"ebpfcheck checks {finding.id}")


def _accepted(page: Page, finding: Finding, total: int) -> None:
    on = f" on {_subjects(finding, total)}" if total > 1 and finding.scope == "node" else ""
    word, why = ("KNOWN", finding.message) if finding.waived_by is None else ("WAIVED", finding.waived_by)
    page.labelled(word, f"{finding.id} ({finding.status}){on}: {why}", "bright_black")


def _remedy(page: Page, fix: Remediation) -> None:
    costs = ["needs a reboot"] if fix.needs_reboot else []
    costs += ["disrupts what runs there"] if fix.disruptive else []
    _row(page, "do this", fix.text + (f" ({', '.join(costs)})" if costs else ""))
    for command in fix.commands:
        # Never wrapped: a command is there to be copied.
        page.line(f"{'':{LABEL_WIDTH}}$ {command}")


def _row(page: Page, label: str, text: str) -> None:
    page.labelled(f"{label:>{LABEL_WIDTH - 1}}", text, "bright_black")


def _subjects(finding: Finding, total: int) -> str:
    return f"{len(finding.subjects):,} of {total:,} nodes: {_names(finding.subjects)}"


def _names(names: Sequence[str]) -> str:
    left = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {left:,} more" if left > 0 else "")


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
    if folded:
        page.line()
    for (_, what), findings in folded.items():
        ids = ", ".join(dict.fromkeys(finding.id for finding in findings)) if what.endswith(":") else ""
        page.labelled(*_label(findings[0], f"{len(findings)}{what} {ids}".rstrip()))
