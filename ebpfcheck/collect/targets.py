"""The hosts that a survey is to reach over SSH: as words on the command line, or as lines of a file."""

import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ebpfcheck.errors import UsageError
from ebpfcheck.model.text import excerpt

_FILE_LIMIT = 16 * 1024 * 1024
_HOSTS_LIMIT = 100_000
# What stands in a name or an address, a scope such as %eth0 included; nothing that a shell reads as its own.
_HOST = re.compile(r"[\w.:%+][\w.:%+-]*")
_USER = re.compile(r"[\w.@+\\][\w.@+\\-]*")
_RANGE = re.compile(r"\[(\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*)\]", re.ASCII)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A host to reach over SSH; `name` is what it is called in reports. None is left to ssh's own configuration."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None


def parse_target(text: str) -> Target:
    """Read [user@]host[:port], an IPv6 address with a port in brackets; UsageError if it is none."""
    user, sign, rest = text.rpartition("@")
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?", rest, re.ASCII)
    host: str
    port: str | None
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    else:
        host, port = rest, None
    is_right = (
        is_host(host)
        and (not sign or _USER.fullmatch(user))
        and (port is None or (re.fullmatch(r"\d{1,5}", port, re.ASCII) and 0 < int(port) < 65536))
    )
    if not is_right:
        raise UsageError(f"{excerpt(text, 60)!r} is not a host such as node1, admin@node1:2222 or [fd00::1]:22")
    return Target(name=text, host=host, user=user if sign else None, port=None if port is None else int(port))


def is_host(text: str) -> bool:
    """Whether a text may be a host's name or address."""
    return _HOST.fullmatch(text) is not None


def read_targets(words: Iterable[str], hosts_file: str | None) -> tuple[Target, ...]:
    """Return the hosts that words and a file (- is stdin) name, each once; UsageError for what is none, or for none."""
    named = itertools.chain(*map(_targets, words), _of_file(hosts_file) if hosts_file is not None else ())
    targets: dict[str, Target] = {}
    for target in named:
        targets.setdefault(target.name, target)
        if len(targets) > _HOSTS_LIMIT:
            raise UsageError(f"more than {_HOSTS_LIMIT:,} hosts were named")
    if not targets:
        raise UsageError(f"{_shown(hosts_file)} names no host" if hosts_file is not None else "no host was named")
    return tuple(targets.values())


def _shown(path: str) -> str:
    return "stdin" if path == "-" else excerpt(path)


def _targets(text: str) -> Iterator[Target]:
    """Read a target, or several: node[01-02] stands for node01 and node02, as wide as the range's first number."""
    parts = _RANGE.split(text)
    choices = [tuple(_numbers(part, text)) if index % 2 else (part,) for index, part in enumerate(parts)]
    for combination in itertools.product(*choices):
        yield parse_target("".join(combination))


def _numbers(ranges: str, text: str) -> Iterator[str]:
    for piece in ranges.split(","):
        first, _, last = piece.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < low + _HOSTS_LIMIT:
            raise UsageError(f"{excerpt(text, 60)!r}: {piece} is no range of up to {_HOSTS_LIMIT:,} numbers")
        for number in range(low, high + 1):
            yield f"{number:0{len(first)}}"


def _of_file(path: str) -> Iterator[Target]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        try:
            if len(words) > 1:
                raise UsageError(f"{excerpt(line, 60)!r} is more than one host")
            for word in words:
                yield from _targets(word)
        except UsageError as error:
            raise UsageError(f"{_shown(path)}, line {number}: {error}") from None


def _text(path: str) -> str:
    try:
        if path != "-":
            with Path(path).open("rb") as file:
                data = file.read(_FILE_LIMIT + 1)
        elif sys.stdin is None:
            raise UsageError("stdin is closed")
        else:
            data = sys.stdin.buffer.read(_FILE_LIMIT + 1)
        if len(data) > _FILE_LIMIT:
            raise UsageError(f"{_shown(path)} is larger than {_FILE_LIMIT} bytes, which no list of hosts is")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{_shown(path)} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{_shown(path)} is no text file") from None
