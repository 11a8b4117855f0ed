"""What the renderers of a report share: its sentences, the word for each finding, and what decides its verdict."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ebpfcheck.exitcodes import ExitCode
from ebpfcheck.model.facts import DATAPLANE_NAMES
from ebpfcheck.model.report import (
    Finding,
    Report,
    Selection,
    SettingUse,
    Severity,
    Status,
    Verdict,
    gating_verdict,
    leaves_open,
)
from ebpfcheck.model.snapshot import Problem, Unseen
from ebpfcheck.model.text import visible

if TYPE_CHECKING:
    from ebpfcheck.model.matrix import Cell

STATUS_WORDS = {
    Status.PASS: "PASS",
    Status.WARN: "WARN",
    Status.FAIL: "FAIL",
    Status.UNKNOWN: "UNKNOWN",
    Status.NOT_APPLICABLE: "N/A",
}
WORST_FIRST = (Status.FAIL, Status.WARN, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE)
VERDICT_WORDS = {
    Verdict.READY: "READY",
    Verdict.READY_WITH_WARNINGS: "READY, WITH WARNINGS",
    Verdict.NOT_READY: "NOT READY",
    Verdict.INCONCLUSIVE: "INCONCLUSIVE",
}
# Of what runs.
_VERIFIED_WORDS = {
    **VERDICT_WORDS,
    Verdict.READY: "VERIFIED",
    Verdict.READY_WITH_WARNINGS: "VERIFIED, WITH WARNINGS",
    Verdict.NOT_READY: "NOT VERIFIED",
}
_SOURCES = {
    "flag": "as asked",
    "cluster": "what the cluster runs",
    "default": "the newest known; --calico-version picks another",
}


def verdict_words(report: Report, verdict: Verdict | None = None) -> str:
    """Return the verdict, the report's or another on it, in capitals."""
    return (VERDICT_WORDS if report.expect is None else _VERIFIED_WORDS)[verdict or report.verdict]


def against_baseline(report: Report) -> str:
    """Return what is new since the baseline, and the verdict on that alone; "" without one."""
    baseline = report.baseline
    if baseline is None:
        return ""
    return (
        f"Baseline {baseline.file} ({baseline.finished_at:%Y-%m-%d}, Calico {baseline.calico}): {baseline.new:,} new, "
        f"{baseline.known:,} known. The exit code is of what is new: {verdict_words(report, baseline.verdict)}."
    )


def title(report: Report) -> str:
    """Return the verdict, and before it that it is but of what the API can tell, where no more was asked for."""
    return ("As far as the API can tell: " if report.scope == "api" else "") + verdict_words(report)


def headline(report: Report) -> str:
    """Return the verdict in one line: of what, for which release, by how many checks, and the counts."""
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
    return (
        f"{title(report)}{by_checks(report.selection)}"
        + f": {report.target.name}{_runs(report)} Calico {report.calico.version}"
        + f" in {DATAPLANE_NAMES[report.expect or 'bpf']}"
        + (f" ({counts})" if counts else "")
        + ("; the nodes themselves were not looked at (see --probe)" if _is_blind(report) else "")
    )


def by_checks(selection: Selection) -> str:
    """Return by how many of the checks it was judged, after a blank; "" where it was by all."""
    run, every = selection.run, selection.run + len(selection.skipped)
    return f" by {run} of {every} checks" if run < every else ""


def set_by_policy(settings: Sequence[SettingUse]) -> str:
    """Return the sentence on what was set, and where, if not on the command line; "" where nothing was."""
    return f"Set by policy: {', '.join(f'{one.name} ({one.origin})' for one in settings)}." if settings else ""


def context(report: Report) -> str:
    """Return for which release it was judged and why that one, how many nodes were looked at, and what was not."""
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
    return f"{text} {set_by_policy(report.settings)}".rstrip()


def override(said: "Finding | Cell") -> str:
    """Return what the check itself says where a policy counts it otherwise, and which line does; "" elsewhere."""
    itself = said.overridden
    if itself is None or itself.status is said.status:
        return ""
    return f"the check itself says {STATUS_WORDS[itself.status]}; {itself.by} counts it otherwise"


def discovered(report: Report) -> list[tuple[str, str]]:
    """Return what a cluster turned out to be as (label, text); nothing where none was looked at."""
    found, platform = report.discovered, report.target.platform
    if found is None:
        return []
    endpoint = found.api_endpoint
    server = f"{endpoint.host}:{endpoint.port}, {found.api_endpoint_reason}" if endpoint else found.api_endpoint_reason
    calico = {"operator": "by the operator", "manifest": "by manifests", "none": "not installed"}
    rows = [
        ("platform", f"{platform.name} ({'; '.join(platform.evidence[:3])})" if platform else "none that is known"),
        ("Kubernetes", report.target.server_version or ""),
        ("Calico", calico.get(report.calico.install, "how it is installed is not known")),
        ("dataplane", f"{found.dataplane}, as configured" if found.dataplane else "not known"),
        ("kube-proxy", found.kube_proxy or "not known"),
        ("API server", server),
    ]
    return [(label, text) for label, text in rows if text]


def decides(report: Report, finding: Finding) -> bool:
    """Whether a finding is one of those that keep the exit code from being 0 (before `--fail-on never`)."""
    if is_accepted(finding):
        return False
    if finding.status is Status.UNKNOWN:
        scope = report.scope if report.expect is None else "api"
        return gating_verdict(report) is Verdict.INCONCLUSIVE and leaves_open(finding, scope)
    if finding.status is Status.WARN:
        return report.exit_code == ExitCode.WARNINGS
    return finding.status is Status.FAIL


def status_word(finding: Finding) -> str:
    """Return the word for what a finding says: what is waived or known from a baseline is that, and a note no pass."""
    if finding.waived_by is not None:
        return "WAIVED"
    if finding.in_baseline:
        return "KNOWN"
    return "NOTE" if finding.note else STATUS_WORDS[finding.status]


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings by status, unknowns that matter before others; then what is accepted, then what holds."""

    def rank(finding: Finding) -> tuple[bool, bool, int, bool, bool]:
        return (
            not is_open(finding),
            is_accepted(finding),
            WORST_FIRST.index(finding.status),
            finding.severity is Severity.NOTE,
            finding.needs_survey,
        )

    return sorted(findings, key=rank)


def is_accepted(finding: Finding) -> bool:
    """Whether something is wrong or unknown and does not count: it is waived, or the baseline has it too."""
    return finding.waived_by is not None or finding.in_baseline


def is_open(finding: Finding) -> bool:
    """Whether a finding is more than that something holds or does not apply: wrong, unknown, waived, or a note."""
    return finding.note or finding.status not in (Status.PASS, Status.NOT_APPLICABLE)


def fits_a_row(finding: Finding) -> bool:
    """Whether nothing more is to say of a finding than on what it is and its message: nobody looked, that is all."""
    told_apart = is_accepted(finding) or finding.waiver_expired is not None or bool(override(finding))
    return finding.needs_survey and not told_apart


def costs(finding: Finding) -> str:
    """Return what mending costs, in brackets after a blank; "" where it costs nothing."""
    fix = finding.remediation
    found = ["needs a reboot"] if fix is not None and fix.needs_reboot else []
    found += ["disrupts what runs there"] if fix is not None and fix.disruptive else []
    return f" ({', '.join(found)})" if found else ""


class Unseens(NamedTuple):
    """Nodes that were not seen for one reason."""

    names: list[str]
    detail: str
    reason: str


def unseen_together(nodes: Iterable[Unseen]) -> list[Unseens]:
    """Return the nodes that were not seen, those together that have the same reason."""
    together: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        together.setdefault((node.detail, node.reason), []).append(node.name)
    return [Unseens(names, detail, reason) for (detail, reason), names in together.items()]


def problem_line(problem: Problem) -> str:
    """Return what could not be done, and why."""
    return f"Problem: {problem.source}: {problem.detail} ({problem.reason})"


def unseen_line(unseen: Unseens, most: int) -> str:
    """Return which nodes were not seen, so many of them by name, and why."""
    return f"Not seen: {names(unseen.names, most)}: {unseen.detail} ({unseen.reason})"


def names(subjects: Sequence[str], most: int) -> str:
    """Return names with commas between them, and past the first so many how many more there are."""
    left = len(subjects) - most
    return ", ".join(subjects[:most]) + (f" and {left:,} more" if left > 0 else "")


def where(report: Report, finding: Finding, most: int) -> str:
    """Return what a finding is about, naming so many nodes at most."""
    if finding.scope == "cluster":
        return "the cluster"
    shown = names(finding.subjects, most)
    total = report.coverage.nodes_total
    return f"{len(finding.subjects):,} of {total:,} nodes: {shown}" if total > 1 else shown


def facets(report: Report, finding: Finding, most: int) -> Iterator[tuple[str, str]]:
    """Return what there is to say of a finding as (label, text), made safe to show; `most` names at most."""
    inferred = f"from {names(finding.inferred_from, most)}" if finding.inferred_from else ""
    fix = finding.remediation
    rows = (
        ("would be", STATUS_WORDS[finding.status] if is_accepted(finding) else ""),
        ("policy", override(finding)),
        ("waived by", finding.waived_by or ""),
        ("known", "the baseline has it too" if finding.in_baseline else ""),
        ("waiver expired", finding.waiver_expired or ""),
        ("on", where(report, finding, most)),
        ("inferred", inferred),
        ("reason", finding.reason.value if finding.reason is not None else ""),
        ("seen", finding.observed),
        ("needed", finding.required),
        ("do this", fix.text + costs(finding) if fix is not None else ""),
    )
    yield from ((label, visible(text)) for label, text in rows if text)


def _runs(report: Report) -> str:
    """Return what stands between the name of what was looked at and that of Calico."""
    is_so = report.expect is not None and report.verdict in (Verdict.READY, Verdict.READY_WITH_WARNINGS)
    return " runs" if is_so else ","


def _is_blind(report: Report) -> bool:
    """Whether a cluster's nodes were left to the API alone."""
    return report.target.kind == "cluster" and report.coverage.nodes_surveyed == 0 and report.expect is None
