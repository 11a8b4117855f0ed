"""Judged kernel strings for people: a line each, then why."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ebpfcheck.model.kernels import KernelReport
from ebpfcheck.model.report import Status
from ebpfcheck.render import RenderOptions
from ebpfcheck.render.console import STATUS_STYLES, STATUS_WORDS, hanging, to_text

_ANSWERS = {True: "yes", False: "no", None: "?"}


def render(report: KernelReport, options: RenderOptions) -> str:
    """Return the results as text; with verbosity below zero passing kernels are left out."""
    counts = ", ".join(
        f"{number} {STATUS_WORDS[status].lower()}"
        for status in (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.PASS)
        if (number := sum(result.status is status for result in report.results))
    )
    parts: list[RenderableType] = [
        Text(f"Kernels for Calico {report.calico} in eBPF mode: {counts or 'none given'}", style="bold")
    ]
    shown = [result for result in report.results if options.verbosity >= 0 or result.status is not Status.PASS]
    if not shown:
        return to_text(parts, options)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("STATUS", "KERNEL", "FELIX ACCEPTS", "DOCUMENTED"):
        table.add_column(title, overflow="fold")
    for result in shown:
        table.add_row(
            Text(STATUS_WORDS[result.status], style=STATUS_STYLES[result.status]),
            Text(result.release or "-"),
            Text(_ANSWERS[result.felix] + (f" ({result.distro})" if result.distro else "")),
            Text(_ANSWERS[result.documented]),
        )
    parts += [Text(""), table]
    reasons = dict.fromkeys(
        (result.status, result.message) for result in shown if result.status is not Status.PASS or options.verbosity > 0
    )
    for status, message in reasons:
        parts += [Text(""), hanging(STATUS_WORDS[status], STATUS_STYLES[status], message)]
    return to_text(parts, options)
