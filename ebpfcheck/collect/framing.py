"""Takes the framed document that survey.sh prints apart, whatever surrounds, cuts or imitates its frames."""

import enum
import re

import msgspec

SURVEY_LIMIT = 10 * 1024 * 1024
"""The most bytes of a survey that are read; what lies beyond is truncated."""


class State(enum.StrEnum):
    """How the survey fared with one section; `truncated` is the reader's word for a frame without an end."""

    OK = "ok"
    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    FAILED = "failed"
    NO_TOOL = "no-tool"
    TRUNCATED = "truncated"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One frame: the file or command it comes from, how that went, and the bytes it gave."""

    locator: str
    state: State
    words: str = ""
    data: bytes = b""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The sections of one survey by name; `complete` says whether the survey reached its end."""

    sections: dict[str, Section]
    complete: bool


def read_document(data: bytes, nonce: str) -> Document:
    """Return the sections framed with this nonce; frames of another run, and forged ones, are mere bytes.

    A name that is framed twice cannot be trusted either time: its section is given as failed.
    """
    mark = re.escape(b"ebpfcheck-" + nonce.encode())
    marker = re.compile(rb"(?:^|\n)" + mark + rb" (begin|end|done)(?: ([^\n]*))?(?=\n)")
    sections: dict[str, Section] = {}
    opened: _Opened | None = None
    complete = False
    for match in marker.finditer(data[:SURVEY_LIMIT]):
        verb = match[1]
        words = (match[2] or b"").decode("utf-8", "backslashreplace")
        if opened is not None and verb != b"end":
            _add(sections, opened, State.TRUNCATED, "its end is missing")
            opened = None
        if verb == b"begin":
            name, _, locator = words.partition(" ")
            opened = _Opened(name=name, locator=locator, start=match.end() + 1)
        elif verb == b"end" and opened is not None:
            state, _, rest = words.partition(" ")
            known = state in State._value2member_map_
            content = data[opened.start : match.start()]
            _add(sections, opened, State(state) if known else State.FAILED, rest, content)
            opened = None
        elif verb == b"done":
            complete = True
            break
    if opened is not None:
        _add(sections, opened, State.TRUNCATED, "the survey was cut off here")
    return Document(sections=sections, complete=complete)


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    locator: str
    start: int


def _add(sections: dict[str, Section], opened: _Opened, state: State, words: str, data: bytes = b"") -> None:
    if opened.name in sections:
        state, words, data = State.FAILED, "it was framed twice", b""
    sections[opened.name] = Section(locator=opened.locator, state=state, words=words, data=data)
