"""Reads the sections of one survey document as facts, or as Unknown with the reason."""

import re
from collections.abc import Callable
from typing import TypeVar

from ebpfcheck.collect.framing import Document, Section, State
from ebpfcheck.collect.transport import Survey
from ebpfcheck.model.facts import Absent, Fact, Known, Reason, Source, SourceKind, Unknown
from ebpfcheck.model.snapshot import SourceIndex

T = TypeVar("T")

# The longest text that is taken for the content of a one-line file of /proc or /sys.
_LINE_LIMIT = 4096


class SectionReader:
    """One document, section by section."""

    def __init__(self, document: Document, survey: Survey, kind: SourceKind, sources: SourceIndex) -> None:
        self._sections = document.sections
        self.cut = survey.cut or Reason.TRUNCATED
        self._kind = kind
        self._declared = survey.declared
        self._trial = survey.trial
        self._sources = sources
        self.root_hint = "; run as root to see it" if self._uid() else ""

    def _uid(self) -> int | None:
        match = re.search(r"^Uid:\s+\d+\s+(\d+)", self.text("self"), re.MULTILINE)
        return None if match is None else int(match[1])

    def state(self, name: str) -> State | None:
        """Return how the survey fared with a section, None if it is not there."""
        section = self._sections.get(name)
        return section.state if section else None

    def names(self, prefix: str) -> list[str]:
        """Return the names of the sections that begin so, in order."""
        return sorted(name for name in self._sections if name.startswith(prefix))

    def locator(self, name: str) -> str:
        """Return the file or command that a section comes from, "" if it is not there."""
        section = self._sections.get(name)
        return section.locator if section else ""

    def source(self, name: str) -> int:
        """Return the index of the source that a section comes from."""
        section = self._sections.get(name)
        return self._sources.add(Source(kind=self._kind, locator=section.locator if section else f"survey: {name}"))

    def called(self, locator: str) -> int:
        """Return the index of a source that is no section's own: what was called to get a part of one."""
        return self._sources.add(Source(kind=self._kind, locator=locator))

    def text(self, name: str) -> str:
        """Return what a section says, nothing if that could not be had."""
        section = self._sections.get(name)
        return section.data.decode("utf-8", "backslashreplace") if section and section.state is State.OK else ""

    def printed(self, name: str) -> tuple[str, str]:
        """Return what a section printed, also one that failed, and the words that it ended with."""
        section = self._sections.get(name)
        return (section.data.decode("utf-8", "backslashreplace"), section.words) if section else ("", "")

    def fact(self, name: str, convert: Callable[[str], T]) -> Fact[T]:
        """Return a section as a fact; `convert` may raise ValueError for a text that it cannot read."""
        return self.bytes_fact(name, lambda data: convert(data.decode("utf-8", "backslashreplace")))

    def bytes_fact(self, name: str, convert: Callable[[bytes], T]) -> Fact[T]:
        """Return a section as a fact, from its bytes."""
        section = self._sections.get(name)
        source = self.source(name)
        if section is None:
            return Unknown(reason=self.cut, detail="the survey ended before it", source=source)
        if section.state is State.OK:
            try:
                return Known(value=convert(section.data), source=source)
            except ValueError as error:
                return Unknown(reason=Reason.UNPARSABLE, detail=f"{section.locator}: {error}", source=source)
        return self._missing(section, source)

    def _missing(self, section: Section, source: int) -> Absent | Unknown:
        if section.state is State.ABSENT:
            return Absent(source=source)
        if section.state is State.FORBIDDEN:
            detail = f"{section.locator}: {section.words}{self.root_hint}"
            return Unknown(reason=Reason.FORBIDDEN, detail=detail, source=source)
        if section.state is State.NO_TOOL:
            detail = f"{section.locator}: there is no {section.words} to read it with"
            return Unknown(reason=Reason.TOOL_MISSING, detail=detail, source=source)
        reason = self.cut if section.state is State.TRUNCATED else Reason.NOT_COLLECTED
        return Unknown(reason=reason, detail=f"{section.locator}: {section.words}", source=source)

    def line(self, name: str) -> Fact[str]:
        """Return a section of one line as a fact."""
        return self.fact(name, one_line)


def behind(view: Unknown | None, fact: Fact[T]) -> Fact[T]:
    """Return a fact, or why what was seen is not known to be the node's."""
    return fact if view is None else view


def one_line(text: str) -> str:
    """Return a text without its line end; ValueError if it is too long for one line of a kernel's file."""
    if len(text) > _LINE_LIMIT:
        raise ValueError(f"it is longer than {_LINE_LIMIT} characters")
    return text.strip()


def number(text: str) -> int:
    """Return the number that a text holds; ValueError if it holds anything else."""
    line = one_line(text)
    if not re.fullmatch(r"-?\d{1,18}", line, re.ASCII):
        raise ValueError(f"{line[:40]!r} is not a number")
    return int(line)
