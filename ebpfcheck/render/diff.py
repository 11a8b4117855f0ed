"""A comparison for people: whether it got worse, then what did, what cannot be told, and the rest."""

from ebpfcheck.model.diff import Change, Diff, Side
from ebpfcheck.model.report import Status
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import LABEL_WIDTH, Page
from ebpfcheck.render.words import STATUS_WORDS, VERDICT_WORDS, names, problem_line

_SHOWN_NAMES = 5
_OUTCOMES = {
    "not_worse": ("NOT WORSE", "green"),
    "worse": ("WORSE", "red"),
    "incomparable": ("MAY BE WORSE", "magenta"),
}


def render(diff: Diff, options: RenderOptions) -> str:
    """Return the comparison as text of the given width; what is not worse is told in a line each."""
    page = Page(options)
    words, color = _OUTCOMES[diff.outcome]
    summary = diff.summary
    counts = ", ".join(
        f"{number} {word}"
        for number, word in (
            (summary.new, "new"),
            (summary.fixed, "fixed"),
            (summary.changed, "changed"),
            (summary.incomparable, "incomparable"),
        )
        if number
    )
    page.opening(f"{words}: B against A ({counts or 'no difference'})", words, color)
    for letter, side in (("A", diff.a), ("B", diff.b)):
        page.paragraph(f"{letter}: {_side(side)}", "bright_black")
    for remark in diff.remarks:
        page.paragraph(f"Mind: {remark}.", "yellow")
    for problem in diff.problems:
        page.paragraph(problem_line(problem), "yellow")
    for letter, nodes in (("A", diff.nodes_only_in_a), ("B", diff.nodes_only_in_b)):
        if nodes and options.verbosity >= 0:
            page.paragraph(f"Only in {letter}: {names(nodes, _SHOWN_NAMES)}")
    bad = [change for change in diff.changes if change.worse]
    open_ = [change for change in diff.changes if change.worse is None]
    for change in (*bad, *open_):
        if options.verbosity < 0:
            page.labelled(*_label(change, f"{_heading(change)}: {change.message}"))
        else:
            _whole(page, change)
    rest = [change for change in diff.changes if change.worse is False]
    if rest and options.verbosity >= 0:
        page.line()
        for change in rest:
            why = f" ({change.why})" if change.why else ""
            page.labelled(*_label(change, f"{_heading(change)} on {names(change.subjects, _SHOWN_NAMES)}{why}"))
    return page.text()


def _side(side: Side) -> str:
    coverage = side.coverage
    seen = f"{coverage.nodes_surveyed:,} of {coverage.nodes_total:,} nodes looked at"
    inferred = f", {coverage.nodes_inferred:,} inferred" if coverage.nodes_inferred else ""
    return (
        f"{side.file}, {side.document} of {side.target}, {side.seen_at:%Y-%m-%d %H:%M} UTC, for Calico {side.calico}: "
        f"{VERDICT_WORDS[side.verdict].lower()}; {seen}{inferred}."
    )


def _label(change: Change, text: str) -> tuple[str, str, str]:
    if change.worse is None:
        return "OPEN", text, "magenta"
    if change.waived_by is not None:
        return "WAIVED", text, "bright_black"
    if change.worse:
        return ("NEW" if change.change == "new" else "WORSE"), text, "red"
    better = {"fixed": ("FIXED", "green"), "changed": ("BETTER", "green")}
    word, color = better.get(change.change, ("OPEN", "bright_black"))
    return word, text, color


def _heading(change: Change) -> str:
    untold = "new node" if change.change == "new" else "not told"
    old, new = (STATUS_WORDS[one] if one else untold for one in (change.a, change.b))
    if old != new:
        return f"{change.id}: {old} -> {new}"
    return f"{change.id}: {new} in both" if change.change == "incomparable" else f"{change.id}: {new}, of another cause"


def _whole(page: Page, change: Change) -> None:
    page.line()
    word, _, color = _label(change, "")
    page.heading(word, change.id, f"{change.title}: {_heading(change).partition(': ')[2]}", color)
    if change.scope == "node":
        _row(page, "on", names(change.subjects, _SHOWN_NAMES))
    if change.why:
        _row(page, "why", f"{change.why}.")
    _row(page, "", change.message)
    if change.remediation is not None:
        _row(page, "do this", change.remediation.text)
        for command in change.remediation.commands:
            page.line(f"{'':{LABEL_WIDTH}}$ {command}")
    if change.b in (Status.FAIL, Status.WARN, Status.UNKNOWN):
        _row(page, "more", f"ebpfcheck checks {change.id}")


def _row(page: Page, label: str, text: str) -> None:
    page.labelled(f"{label:>{LABEL_WIDTH - 1}}", text, "bright_black")
