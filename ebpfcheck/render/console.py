"""What the renderers for people share: wrapped lines with a label, and the colours of statuses."""

from textwrap import wrap

from click import style

from ebpfcheck.model.report import Status, Verdict
from ebpfcheck.model.text import TEXT_ESCAPES, without_commands
from ebpfcheck.render import RenderOptions

STATUS_COLORS = {
    Status.PASS: "green",
    Status.WARN: "yellow",
    Status.FAIL: "red",
    Status.UNKNOWN: "magenta",
    Status.NOT_APPLICABLE: "bright_black",
}
VERDICT_COLORS = {
    Verdict.READY: "green",
    Verdict.READY_WITH_WARNINGS: "yellow",
    Verdict.NOT_READY: "red",
    Verdict.INCONCLUSIVE: "magenta",
}
LABEL_WIDTH = 9
"""What a label and the blank after it take."""


class Page:
    """Lines of text for people, collected in order."""

    def __init__(self, options: RenderOptions) -> None:
        self._options = options
        self._lines: list[str] = []

    def paint(self, text: str, color: str | None = None, *, bold: bool = False) -> str:
        """Return the text in a colour, where colours are wanted."""
        return style(text, fg=color, bold=bold or None) if self._options.color else text

    def line(self, text: str = "") -> None:
        """Add a line as it is, however long."""
        self._lines.append(text)

    def paragraph(self, text: str, color: str | None = None) -> None:
        """Add a text, wrapped to the width."""
        self._lines += [self.paint(line, color) for line in _wrapped(text, self._options.width)]

    def opening(self, text: str, words: str, color: str) -> None:
        """Add a text, wrapped to the width, with the words at or near its beginning in bold."""
        first, *rest = _wrapped(text, self._options.width)
        self._lines += [first.replace(words, self.paint(words, color, bold=True), 1), *rest]

    def heading(self, label: str, name: str, title: str, color: str) -> None:
        """Add the start of a finding: label, name in bold, and a title that wraps to the right of the label."""
        first, *rest = _wrapped(f"{name}  {title}", self._options.width - LABEL_WIDTH)
        shown, blanks, more = first.partition("  ")
        status = self.paint(f"{label:<{LABEL_WIDTH - 1}}", color, bold=True)
        self._lines.append(f"{status} {self.paint(shown, bold=True)}{blanks}{more}")
        self._lines += [" " * LABEL_WIDTH + line for line in rest]

    def labelled(self, label: str, text: str, color: str | None = None, *, width: int = LABEL_WIDTH) -> None:
        """Add a text that wraps to the right of its label, which takes `width` with the blank after it."""
        first, *rest = _wrapped(text, self._options.width - width) or [""]
        self._lines.append(f"{self.paint(f'{label:<{width - 1}}', color)} {first}".rstrip())
        self._lines += [" " * width + line for line in rest]

    def text(self) -> str:
        """Return all lines, each with its end."""
        return without_commands("".join(line + "\n" for line in self._lines), TEXT_ESCAPES)


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, break_on_hyphens=False)
