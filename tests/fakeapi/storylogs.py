"""Logs and metrics of pods that a story holds: what tests give, as a kubelet hands it out."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import overload

from tests.fakeapi.answer import Answer, Reply, Stream
from tests.fakeapi.status import StatusError
from tests.fakeapi.story import Object

Line = tuple[datetime, str]


class LongLog(Sequence[Line]):
    """A log of very many lines, of which only those that are asked for are ever made: HEAD, fillers, then TAIL."""

    def __init__(self, head: Sequence[Line], filler: str, count: int, step: timedelta, tail: Sequence[Line]) -> None:
        self._head, self._filler, self._count, self._step, self._tail = head, filler, count, step, tail

    def __len__(self) -> int:
        return len(self._head) + self._count + len(self._tail)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | Sequence[Line]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index += len(self) if index < 0 else 0
        if index < len(self._head):
            return self._head[index]
        number = index - len(self._head)
        if number < self._count:
            return self._head[-1][0] + self._step * (number + 1), self._filler
        return self._tail[number - self._count]

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return self._count * (len(self._filler) + 32)


@dataclass
class StoryLog:
    """What calico-node has logged on a node, and the metrics that Felix serves there, if any."""

    lines: Sequence[Line] = ()
    metrics: str | None = None


@dataclass
class StoryLogs:
    """The logs of pods by the name of their node; None is for every node without one of its own."""

    of_node: dict[str | None, StoryLog] = field(default_factory=dict)
    sent: int = 0
    """How many bytes of logs were sent."""
    heeds_limit: bool = True
    """Whether limitBytes limits anything."""

    def answer(self, pod: Object, query: Mapping[str, str]) -> Reply:
        """The answer to a request for the log of a pod, which is empty where no test has given one."""
        return Stream(self._pieces(self._of(pod), query), "text/plain")

    def metrics(self, pod: Object) -> Reply:
        """The answer to a request for the metrics of Felix in a pod."""
        text = self._of(pod).metrics
        if text is None:
            raise StatusError(
                503, "error trying to reach service: dial tcp 10.20.0.11:9091: connect: connection refused"
            )
        return Answer.text(200, text, "text/plain; version=0.0.4")

    def _of(self, pod: Object) -> StoryLog:
        return self.of_node.get(pod["spec"].get("nodeName"), self.of_node.get(None, StoryLog()))

    def _pieces(self, log: StoryLog, query: Mapping[str, str]) -> Iterator[bytes]:
        first = 0
        if "sinceTime" in query:
            since = datetime.fromisoformat(query["sinceTime"])
            first = bisect_left(log.lines, since, key=lambda line: line[0])
        if "tailLines" in query:
            first = max(first, len(log.lines) - int(query["tailLines"]))
        left = int(query["limitBytes"]) if "limitBytes" in query and self.heeds_limit else None
        stamped = query.get("timestamps") in ("1", "true", "True")
        for index in range(first, len(log.lines)):
            when, text = log.lines[index]
            data = (f"{stamp(when)} {text}\n" if stamped else f"{text}\n").encode()
            piece = data if left is None else data[:left]
            self.sent += len(piece)
            yield piece
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    return


def stamp(when: datetime) -> str:
    """A time as kubelets write it before lines."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond:06}000Z"


def felix(when: datetime, message: str, *, pid: int = 66, level: str = "INFO", file: str = "int_dataplane.go") -> Line:
    """A line as Felix writes it."""
    written = when.strftime("%Y-%m-%d %H:%M:%S.") + f"{when.microsecond // 1000:03}"
    return when, f"{written} [{level}][{pid}] felix/{file} 123: {message}"
