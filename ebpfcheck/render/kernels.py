"""Judged kernel strings for people: a line each, then why."""

from ebpfcheck.model.kernels import KernelReport, KernelResult
from ebpfcheck.model.report import Status
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import STATUS_COLORS, Page
from ebpfcheck.render.words import STATUS_WORDS

_ANSWERS = {True: "yes", False: "no", None: "?"}
_HEADINGS = ("STATUS", "KERNEL", "FELIX ACCEPTS", "DOCUMENTED")


def render(report: KernelReport, options: RenderOptions) -> str:
    """Return the results as text; with verbosity below zero passing kernels are left out."""
    page = Page(options)
    counts = ", ".join(
        f"{number} {STATUS_WORDS[status].lower()}"
        for status in (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS)
        if (number := sum(result.status is status for result in report.results))
    )
    page.line(page.paint(f"Kernels for Calico {report.calico} in eBPF mode: {counts}", bold=True))
    shown = [result for result in report.results if options.verbosity >= 0 or result.status is not Status.PASS]
    if shown:
        _columns(page, shown)
    for status, message in dict.fromkeys(
        (result.status, result.message) for result in shown if result.status is not Status.PASS or options.verbosity > 0
    ):
        page.line()
        page.labelled(STATUS_WORDS[status], message, STATUS_COLORS[status])
    return page.text()


def _columns(page: Page, results: list[KernelResult]) -> None:
    rows = [_HEADINGS] + [_cells(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    colors = [None, *(STATUS_COLORS[result.status] for result in results)]
    page.line()
    for row, color in zip(rows, colors, strict=True):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        page.line("  ".join([page.paint(cells[0], color), *cells[1:]]).rstrip())


def _cells(result: KernelResult) -> tuple[str, str, str, str]:
    felix = _ANSWERS[result.felix] + (f" ({result.distro})" if result.distro else "")
    return STATUS_WORDS[result.status], result.release or "-", felix, _ANSWERS[result.documented]
