"""TOML files of users, with the line on which each of their values stands."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ebpfcheck.errors import UsageError
from ebpfcheck.model.text import excerpt, visible

Place = tuple[str | int, ...]
"""The keys, and indices in arrays of tables, that lead to a value."""

_LONGEST = 1 << 20
# What the last line of a value of several lines holds.
_ENDS = ("]", '"""', "'''")
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class TomlFile(msgspec.Struct, frozen=True):
    """What a file holds, and where; `name` is what users call it."""

    name: str
    values: dict[str, Any]
    lines: dict[Place, int]

    def at(self, *place: str | int) -> str:
        """Return FILE:LINE of a value, or of what it should stand in."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{visible(self.name)}:{self.lines.get(place, 1)}"

    def error(self, place: Place, words: str) -> UsageError:
        """Return the error about a value."""
        return UsageError(f"{self.at(*place)}: {words}")


def read_toml(path: Path, name: str) -> TomlFile:
    """Read a file of at most 1 MiB; UsageError, with the line where there is one, if it is not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{name}: cannot be read: {reason}") from error
    if len(data) > _LONGEST:
        raise UsageError(f"{name}: is larger than 1 MiB")
    try:
        # As in tomllib, which reads bytes of a file just so.
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}:{line}: is not UTF-8") from error
    try:
        return TomlFile(name, tomllib.loads(text), _lines(text))
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        match = _POSITION.search(words)
        line = int(match[1]) if match and match[1] else text.rstrip("\n").count("\n") + 1
        column = f" (column {match[2]})" if match and match[2] else ""
        said = words[: match.start()] if match else words
        raise UsageError(f"{name}:{line}: is not TOML: {excerpt(said)}{column}") from error
    except RecursionError as error:
        raise UsageError(f"{name}: is nested too deeply") from error


def _lines(text: str) -> dict[Place, int]:
    """Return the line on which each table and each value of a valid document begins."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, statement in _statements(text):
        if statement.lstrip().startswith("["):
            table = _opened(statement, counts)
            lines.setdefault(table, number)
            if isinstance(table[-1], int):
                # An array of tables stands where its first one does.
                lines.setdefault(table[:-1], number)
        else:
            for place in _places(tomllib.loads(statement), table):
                lines.setdefault(place, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of a valid document with its line: the fewest lines that are TOML by themselves."""
    first, held = 1, ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not held:
            first = number
        held += line + "\n"
        if number > first and not any(sign in line for sign in _ENDS):
            continue
        try:
            holds = bool(tomllib.loads(held))
        except tomllib.TOMLDecodeError:
            continue
        if holds:
            yield first, held
        held = ""


def _opened(header: str, counts: dict[Place, int]) -> Place:
    """Return the place of the table that a header opens; `counts` holds how many tables each array has so far."""
    place: Place = ()
    inner: Any = tomllib.loads(header)
    while isinstance(inner, dict) and inner:
        ((key, inner),) = inner.items()
        place += (key,)
        if isinstance(inner, list):
            counts[place] = counts.get(place, 0) + 1
            inner = inner[0]
        if place in counts:
            place += (counts[place] - 1,)
    return place


def _places(values: dict[str, Any], within: Place) -> Iterator[Place]:
    for key, value in values.items():
        yield (*within, key)
        if isinstance(value, dict):
            yield from _places(value, (*within, key))
