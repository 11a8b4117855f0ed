"""Several releases for people: the verdict on each, a table of checks by release, and why it changes where it does."""

from collections.abc import Sequence

from ebpfcheck.model.matrix import Cell, Column, Matrix, Row
from ebpfcheck.model.report import Status, Summary, Verdict
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import STATUS_COLORS, VERDICT_COLORS, Page
from ebpfcheck.render.words import STATUS_WORDS, VERDICT_WORDS, by_checks, override, problem_line, set_by_policy

_UNKNOWN_RELEASE = "?"
_NOT_RIGHT = (Status.FAIL, Status.WARN, Status.UNKNOWN)
_COUNTED = ("fail", "warn", "unknown", "waived")


def render(matrix: Matrix, options: RenderOptions) -> str:
    """Return the releases, the checks on which they differ or that are not right, and where that begins."""
    page = Page(options)
    words, color = _opening(matrix)
    lead = "As far as the API can tell: " if matrix.scope == "api" else ""
    by = by_checks(matrix.selection)
    page.opening(f"{lead}{words}{by}: {matrix.target.name}, Calico {_span(matrix.releases)} in eBPF mode", words, color)
    coverage = matrix.coverage
    inferred = f", {coverage.nodes_inferred:,} inferred from nodes alike" if coverage.nodes_inferred else ""
    looked = f"{coverage.nodes_surveyed:,} of {coverage.nodes_total:,} nodes looked at{inferred}."
    page.paragraph(f"{looked} {set_by_policy(matrix.settings)}".rstrip(), "bright_black")
    for problem in matrix.problems:
        page.paragraph(problem_line(problem), "yellow")
    page.line()
    width = max(len(column.version) for column in matrix.releases) + 2
    for column in matrix.releases:
        said, color = _said(column.verdict)
        page.labelled(column.version, said + _remarks(column), color, width=width)
    unseen = [row for row in matrix.checks if options.verbosity <= 0 and _waits_for_a_look(row)]
    shown = [row for row in matrix.checks if row not in unseen and (options.verbosity > 0 or _is_worth_it(row))]
    if options.verbosity >= 0:
        _table(page, matrix.releases, shown, options.width)
        _turns(page, matrix.releases, shown)
    left = len(matrix.checks) - len(shown) - len(unseen)
    if left or unseen:
        page.line()
    if unseen:
        ids = ", ".join(row.id for row in unseen)
        words = f"{len(unseen)} that only a look at the nodes tells (--probe exec or pod, or `ebpfcheck node`)"
        page.labelled("UNKNOWN", f"{words}, shown by -v: {ids}", STATUS_COLORS[Status.UNKNOWN])
    if left:
        page.paragraph(f"{left} checks that hold, do not apply, or cannot decide at any of them are shown by -v.")
    return page.text()


def _opening(matrix: Matrix) -> tuple[str, str]:
    refused = [column.version for column in matrix.releases if column.verdict is Verdict.NOT_READY]
    if len(refused) == len(matrix.releases):
        return _said(Verdict.NOT_READY)
    if refused:
        goes_on = refused == [column.version for column in matrix.releases[-len(refused) :]]
        return f"NOT READY FROM {refused[0]} ON" if goes_on else f"NOT READY AT {', '.join(refused)}", "red"
    seen = {column.verdict for column in matrix.releases}
    if None in seen or Verdict.INCONCLUSIVE in seen:
        return _said(Verdict.INCONCLUSIVE)
    return _said(Verdict.READY_WITH_WARNINGS if Verdict.READY_WITH_WARNINGS in seen else Verdict.READY)


def _said(verdict: Verdict | None) -> tuple[str, str]:
    """Return a verdict in words and its colour, None being that of a release that is not known."""
    return ("NOT KNOWN", "magenta") if verdict is None else (VERDICT_WORDS[verdict], VERDICT_COLORS[verdict])


def _span(columns: Sequence[Column]) -> str:
    return " to ".join(dict.fromkeys((columns[0].version, columns[-1].version)))


def _remarks(column: Column) -> str:
    if column.summary is None:
        return ": this ebpfcheck knows nothing of it"
    counts = ", ".join(f"{number} {word}" for word in _COUNTED if (number := getattr(column.summary, word)))
    return (f" ({counts})" if counts else "") + (f"; {column.remark}" if column.remark else "")


def _is_worth_it(row: Row) -> bool:
    """Whether a check fails, warns, decides or is waived at some release."""
    return any(cell.decides or cell.status in (Status.FAIL, Status.WARN) or cell.subjects.waived for cell in row.cells)


def _waits_for_a_look(row: Row) -> bool:
    """Whether a check decides, but nowhere by more than that nobody looked at the nodes."""
    deciding = [cell for cell in row.cells if cell.decides or cell.status in (Status.FAIL, Status.WARN)]
    return bool(deciding) and all(cell.needs_survey for cell in deciding)


def _word(cell: Cell) -> str:
    if cell.status is None:
        return "WAIVED" if cell.subjects.waived else _UNKNOWN_RELEASE
    return STATUS_WORDS[cell.status]


def _table(page: Page, columns: Sequence[Column], rows: Sequence[Row], width: int) -> None:
    """Add the table, in as many parts as it takes to stay within the width."""
    if not rows:
        return
    first = max(len(row.id) for row in rows)
    cells = [[_word(cell) for cell in row.cells] for row in rows]
    wide = max(len(word) for line in [[column.version for column in columns], *cells] for word in line)
    fit = max(1, (width - first) // (wide + 2))
    for start in range(0, len(columns), fit):
        page.line()
        versions = "".join(f"  {column.version:<{wide}}" for column in columns[start : start + fit])
        page.line(f"{'':{first}}{versions}".rstrip())
        for row, words in zip(rows, cells, strict=True):
            painted = (
                "  " + page.paint(f"{word:<{wide}}", _color(cell))
                for word, cell in zip(words[start : start + fit], row.cells[start : start + fit], strict=True)
            )
            page.line(f"{row.id:<{first}}" + "".join(painted).rstrip())


def _color(cell: Cell) -> str:
    return "bright_black" if cell.status is None else STATUS_COLORS[cell.status]


def _turns(page: Page, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Say for each check where it becomes what it is, and why."""
    for row in rows:
        if not any(cell.status in _NOT_RIGHT for cell in row.cells):
            continue
        page.line()
        page.line(page.paint(row.id, bold=True) + f"  {row.title}")
        before: str | None = None
        for column, cell in zip(columns, row.cells, strict=True):
            word = _word(cell)
            if word != before and cell.status in _NOT_RIGHT:
                itself = f" ({override(cell)})" if override(cell) else ""
                page.labelled(word, f"{column.version}{_on(cell.subjects)}: {cell.message}{itself}", _color(cell))
            before = word


def _on(subjects: Summary) -> str:
    total = sum(getattr(subjects, name) for name in subjects.__struct_fields__)
    counts = ", ".join(f"{number:,} {word}" for word in _COUNTED if (number := getattr(subjects, word)))
    return f" ({counts} of {total:,})" if total > 1 else ""
