"""What calico-node's log says of the Felix that runs, read in few and bounded pieces however long it is."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from ebpfcheck.knowledge.verify_tables import VerifyTables
from ebpfcheck.model.facts import FelixLog, rounded_down
from ebpfcheck.model.text import excerpt

_KIB = 1024
# How much is read at the log's beginning, at its end, at a place between, and from the start of a Felix on.
_HEAD, _TAIL, _PROBE, _SECTION = 192 * _KIB, 96 * _KIB, 32 * _KIB, 384 * _KIB
LARGEST_PIECE = _SECTION
"""How much is asked for at once at most, in bytes."""
_TAIL_LINES, _FEWER_LINES = 400, 20
_PROBES = 16
# How much later than its container a log may begin and still be whole.
_SLACK = timedelta(seconds=60)
# Signs of trouble count that are no older than this.
_RECENT = timedelta(minutes=10)
_MOST_STARTS = 10
_SHORTEST = timedelta(seconds=1)
_LONGEST_REASON, _LONGEST_HOST, _LONGEST_WORD = 200, 253, 20

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d) "
    r"(?:[\d-]{10} [\d:.]{8,12} \[[A-Z]{4,7}\]\[(?P<pid>\d{1,10})\] "
    r"(?:(?P<component>[\w-]+)/)?(?P<file>[\w.-]+\.go) \S+: )?(?P<message>.*)",
    re.ASCII,
)
# Before Felix's lines were marked as its own, these files of its source were.
_FILES = ("daemon.go", "int_dataplane.go")
_API = re.compile(r'KUBERNETES_SERVICE_HOST="(?P<host>[^"]*)" KUBERNETES_SERVICE_PORT="(?P<port>[^"]*)"')
_TABLE = re.compile(r'\btable="(?P<name>\w+)"')
_ERROR = re.compile(r"\s*error=(?P<reason>.+)")

Fetch = Callable[[Mapping[str, str]], bytes]
"""Returns what the log holds for a query as the API server takes it."""


class _Line(msgspec.Struct, frozen=True):
    """A line with the time at which it was written; `pid` is that of the Felix which wrote it, None for others."""

    time: datetime
    pid: str | None
    message: str


class _Piece(msgspec.Struct, frozen=True):
    """Lines that follow each other; not whole where it was cut off at its end."""

    lines: tuple[_Line, ...]
    is_whole: bool

    def pids(self) -> list[str]:
        """The Felixes that wrote lines, in their order."""
        return [line.pid for line in self.lines if line.pid is not None]


def felix_log(fetch: Fetch, started_at: datetime | None, tables: VerifyTables) -> FelixLog:
    """Return what a container's log says of the Felix that wrote its last lines; what `fetch` raises goes through."""
    reader = _Reader(fetch, tables)
    head = reader.read(_HEAD)
    tail = head if head.is_whole else reader.tail()
    begins = head.lines[0].time if head.lines else None
    is_rotated = started_at is not None and begins is not None and begins > started_at + _SLACK
    recent = reader.recent(tail, is_all=head.is_whole, since=begins if is_rotated else None)
    last = next(reversed(recent.lines), None)
    current = next(reversed(tail.pids()), last.pid if last is not None else None)
    section = None if current is None else reader.section(current, head, tail)
    if section is not None:
        return reader.told(section, recent)
    is_starting = head.is_whole and current is None and not is_rotated
    return FelixLog(
        start="seen" if is_starting else "rotated" if is_rotated else "unread",
        mode="starting" if is_starting else None,
        signs=reader.signs(recent.lines),
        is_recent_seen=recent.is_seen,
        starts=reader.starts(recent.lines),
    )


class _Recent(msgspec.Struct, frozen=True):
    """What Felix wrote in the last minutes; `is_seen`: all of it was read, and there is something."""

    lines: tuple[_Line, ...]
    is_seen: bool


class _Reader:
    """The log of one container."""

    def __init__(self, fetch: Fetch, tables: VerifyTables) -> None:
        self._fetch = fetch
        self._tables = tables
        self._of_role: dict[str, list[str]] = {}
        for line in tables.line:
            self._of_role.setdefault(line.role, []).append(line.text)

    def read(self, most: int, since: datetime | None = None, last: int | None = None) -> _Piece:
        """Return what was written since then, or the last lines, or all, up to so many bytes."""
        query = {"limitBytes": str(most)}
        if since is not None:
            query["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if last is not None:
            query["tailLines"] = str(last)
        data = self._fetch(query)
        is_whole = len(data) < most
        lines = data.decode("utf-8", "backslashreplace").split("\n")
        # The last one is empty, or was cut off.
        return _Piece(tuple(_parsed(lines if is_whole else lines[:-1])), is_whole)

    def tail(self) -> _Piece:
        """Return the last lines, fewer where they are so long that the end of them would be cut off."""
        tail = self.read(_TAIL, last=_TAIL_LINES)
        return tail if tail.is_whole else self.read(_SECTION, last=_FEWER_LINES)

    def recent(self, tail: _Piece, *, is_all: bool, since: datetime | None) -> _Recent:
        """Return what Felix wrote in the last minutes.

        `is_all`: the tail is all that there is; `since`: when that begins, of a log whose start was rotated away.
        """
        if not tail.lines:
            return _Recent((), is_seen=False)
        oldest = tail.lines[-1].time - _RECENT
        lines, is_whole = tail.lines, is_all or tail.lines[0].time < oldest
        if not is_whole:
            # Many lines, or long ones: what the tail leaves out of the last minutes is read from their beginning.
            more = self.read(_SECTION, oldest)
            is_whole = more.is_whole
            first = tail.lines[0].time
            lines = more.lines if is_whole else (*(line for line in more.lines if line.time < first), *tail.lines)
        own = tuple(line for line in lines if line.pid is not None and line.time >= oldest)
        return _Recent(own, is_seen=is_whole and bool(own) and (since is None or since <= oldest))

    def section(self, pid: str, head: _Piece, tail: _Piece) -> Sequence[_Line] | None:
        """Return what that Felix wrote from its start on until its dataplane was made; None if it was not found."""
        for piece in (head, tail):
            found = self._from_start(pid, piece.lines)
            if found is not None:
                is_enough = piece is tail or head.is_whole or self._is_decided(found)
                return found if is_enough else self._from_start(pid, self.read(_SECTION, found[0].time).lines)
        since = self._search(pid, head, tail)
        return None if since is None else self._from_start(pid, self.read(_SECTION, since).lines)

    def _search(self, pid: str, head: _Piece, tail: _Piece) -> datetime | None:
        """Return a moment shortly before a Felix began to write, which was between the head and the tail."""
        if not head.lines or pid in head.pids():
            return None
        before = head.lines[-1].time
        after = next((line.time for line in tail.lines if line.pid == pid), None)
        for _ in range(_PROBES):
            if after is None or after - before <= _SHORTEST:
                break
            middle = before + (after - before) / 2
            piece = self.read(_PROBE, middle)
            found = self._from_start(pid, piece.lines)
            if found is not None:
                return found[0].time
            pids = piece.pids()
            # Lines of others alone are no later than those of the Felix that follows them.
            if pids and pids[0] != pid:
                before = middle
            else:
                after = middle
        return before

    def _from_start(self, pid: str, lines: Sequence[_Line]) -> Sequence[_Line] | None:
        own = [line for line in lines if line.pid == pid]
        starts = [index for index, line in enumerate(own) if self._is(line, "start")]
        return own[starts[-1] :] if starts else None

    def _is(self, line: _Line, role: str) -> bool:
        return any(text in line.message for text in self._of_role[role])

    def _is_decided(self, lines: Iterable[_Line]) -> bool:
        # What is told once at the start comes before it.
        return any(self._is(line, "decided") for line in lines)

    def told(self, section: Sequence[_Line], recent: _Recent) -> FelixLog:
        """Return what a Felix said since its start, and what trouble it tells of there and in the last minutes."""
        fallback = next((self._reason(line) for line in section if self._is(line, "fallback")), None)
        api = next((_API.search(line.message) for line in section if self._is(line, "api")), None)
        if any(self._is(line, "bpf") for line in section):
            mode = "bpf"
        else:
            mode = "standard" if any(self._is(line, "decided") for line in section) else "starting"
        return FelixLog(
            start="seen",
            mode=mode,  # type: ignore[arg-type]
            fallback=fallback,
            rules=self._rules(line for line in section if self._is(line, "table")),  # type: ignore[arg-type]
            api_host=api["host"][:_LONGEST_HOST] if api else None,
            api_port=api["port"][:_LONGEST_WORD] if api else None,
            load_balancer=self._load_balancer(section),
            signs=tuple(sorted((*self._start_signs(section), *self.signs(recent.lines)))),
            is_recent_seen=recent.is_seen,
            starts=self.starts(recent.lines),
        )

    def _start_signs(self, section: Sequence[_Line]) -> Iterable[tuple[str, int]]:
        for one in self._tables.line:
            if one.role == "start_sign" and any(one.text in line.message for line in section):
                yield one.name, 1

    def starts(self, recent: Sequence[_Line]) -> int:
        """Return how often Felix was started, up to a number that says enough."""
        return min(sum(self._is(line, "start") for line in recent), _MOST_STARTS)

    def _reason(self, line: _Line) -> str:
        text = next(text for text in self._of_role["fallback"] if text in line.message)
        match = _ERROR.fullmatch(line.message.partition(text)[2])
        return excerpt(match["reason"], _LONGEST_REASON) if match else ""

    def _rules(self, lines: Iterable[_Line]) -> str | None:
        rules = self._tables.rules
        names = {match["name"] for line in lines if (match := _TABLE.search(line.message))}
        if not names.isdisjoint(rules.nftables):
            return "nftables"
        return None if names.isdisjoint(rules.iptables) else "iptables"

    def _load_balancer(self, lines: Iterable[_Line]) -> str | None:
        for line in lines:
            for text in self._of_role["load_balancer"]:
                if text in line.message:
                    return line.message.partition(text)[2].split(" ")[0][:_LONGEST_WORD]
        return None

    def signs(self, recent: Sequence[_Line]) -> tuple[tuple[str, int], ...]:
        """Return the kinds of trouble that the last minutes tell of."""
        found: dict[str, list[str | None]] = {}
        for name, role, text in ((line.name, line.role, line.text) for line in self._tables.line):
            pids = [line.pid for line in recent if text in line.message] if role in ("sign", "panic") else []
            # A Felix that stopped once and came back without it has got over it.
            if pids and (role == "sign" or len(pids) > 1 or pids[-1] == recent[-1].pid):
                found[name] = pids
        return tuple(sorted((name, rounded_down(len(pids))) for name, pids in found.items()))


def _parsed(lines: Iterable[str]) -> Iterable[_Line]:
    for text in lines:
        match = _LINE.match(text)
        if match is None:
            continue
        fraction = (match["fraction"] or "")[:7]
        try:
            time = datetime.fromisoformat(f"{match['time']}{fraction}{match['zone']}")
        except ValueError:
            continue
        is_felix = match["component"] == "felix" or (match["component"] is None and match["file"] in _FILES)
        yield _Line(time, match["pid"] if is_felix else None, match["message"])
