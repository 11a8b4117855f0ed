"""What the renderers for people share: a console that writes into a string, and the colours of statuses."""

from io import StringIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ebpfcheck.model.report import Status
from ebpfcheck.render import RenderOptions

STATUS_STYLES = {
    Status.PASS: "green",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.UNKNOWN: "magenta",
    Status.NOT_APPLICABLE: "dim",
}
STATUS_WORDS = {
    Status.PASS: "PASS",
    Status.WARN: "WARN",
    Status.FAIL: "FAIL",
    Status.UNKNOWN: "UNKNOWN",
    Status.NOT_APPLICABLE: "N/A",
}


def hanging(label: str, style: str, text: str) -> RenderableType:
    """Return a label of eight characters with a text that wraps to the right of it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=8, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), Text(text))
    return grid


def to_text(renderables: list[RenderableType], options: RenderOptions) -> str:
    """Lay renderables out and return the text, without blanks at the ends of lines."""
    out = StringIO()
    console = Console(
        file=out,
        width=options.width,
        force_terminal=options.color,
        color_system="standard" if options.color else None,
        no_color=not options.color,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    for renderable in renderables:
        console.print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in out.getvalue().split("\n"))
