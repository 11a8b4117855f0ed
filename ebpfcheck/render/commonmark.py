"""Text that stays text in CommonMark, with GitHub's and GitLab's tables, autolinks and formulas."""

import re
from collections.abc import Iterator

from ebpfcheck.model.text import visible

# What they and HTML take as their own: a scheme and www. make links of what follows.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#+!|~&@$])|(?<=\w)(:)(?=//)|(?<=www)(\.)", re.IGNORECASE)

# What they take for the beginning of a list, of a heading or of a rule.
_START = re.compile(r"^(\d*)([-=.)])")


def plain(text: str) -> str:
    """Return a text as a piece of a line that shows just these characters."""
    return _MARKUP.sub(lambda match: f"\\{match[0]}", visible(text))


def paragraph(text: str) -> str:
    """Return a text as a line of its own that begins no list, heading, rule or block of code."""
    return _START.sub(lambda match: f"{match[1]}\\{match[2]}", plain(text.strip()))


def code(text: str) -> str:
    """Return a text as code within a line, but not within a table."""
    shown = visible(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def fenced(commands: tuple[str, ...], *, indent: int = 0) -> Iterator[str]:
    """Return the lines of a block of shell commands, an empty one before and after it; none for no commands."""
    if not commands:
        return
    # A fence is longer than any run of backticks in it.
    longest = max((len(run) for command in commands for run in re.findall("`+", command)), default=0)
    fence, lead = "`" * max(3, longest + 1), " " * indent
    yield ""
    yield f"{lead}{fence}sh"
    yield from (f"{lead}{visible(command)}" for command in commands)
    yield f"{lead}{fence}"
    yield ""
