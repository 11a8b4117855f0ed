"""Reads what the trial of BPF objects printed: which of them the kernel's verifier accepts."""

import errno
import re
from typing import Any, Literal

from ebpfcheck.collect.sections import SectionReader
from ebpfcheck.collect.transport import ObjectsTrial
from ebpfcheck.model.facts import Absent, Fact, ObjectRefusal, ObjectTrial, Reason, Unknown

# Far more than a trial prints.
_LONGEST_DOCUMENT = 4 * 1024 * 1024
_MOST_OBJECTS, _MOST_WORDS, _LONGEST_WORD, _LONGEST_NAME = 1000, 5, 200, 120
_NAME = re.compile(rf"[A-Za-z0-9_.+-]{{1,{_LONGEST_NAME}}}", re.ASCII)
# How the names of Calico's objects begin; those of others may tell whose machine it is.
_OF_CALICO = re.compile(
    r"(?:from|to|connect|conntrack|policy|tcx?|xdp|common_map|ipv[46]_map|filter|redir|sockops)[_.]", re.ASCII
)
_END = re.compile(
    r"end (?:(?P<mark>large|irregular|timeout|killed)|(?P<code>\d{1,4})(?P<partly> without \w{1,64})?)", re.ASCII
)
_ERRNO = re.compile(r"failed to load: -(\d{1,4})$")
_PROGRAM = re.compile(r"prog '(\w{1,64})'", re.ASCII)
_FROM_LIBBPF = re.compile(r"(?:libbpf|Error|Warning): |If it used to work|-- (?:BEGIN|END) PROG LOAD LOG")
# Says nothing of why, or something else each time.
_IDLE = re.compile(
    r"verification time |stack depth |Warning: |If it used to work|-- (?:BEGIN|END) PROG|Error: failed to load"
)
# What the verifier says of programs that it takes as well, which a security module may refuse afterwards.
_STATISTICS = re.compile(r"processed \d+ insns")
# The exit codes of a shell's command that a signal has ended, SIGKILL above all, and that of a bpftool that failed.
_SIGNALLED, _KILLED, _FAILED = 128, 137, 255
_UNDECIDED = ("timeout", "killed", "large", "irregular")


def fact(reader: SectionReader, trial: ObjectsTrial) -> Fact[ObjectTrial]:
    """Return what became of the objects of a trial, or why they could not be loaded."""
    read = reader.bytes_fact("objects", lambda data: object_trial(data, trial.directory, trial.image))
    if isinstance(read, Absent):
        detail = f"there is no {trial.directory} to take objects from"
        return Unknown(reason=Reason.NOT_COLLECTED, detail=detail, source=read.source)
    return read


def object_trial(data: bytes, directory: str, image: str) -> ObjectTrial:
    """Return what was printed of a directory's objects; ValueError if it is not what a trial prints."""
    if len(data) > _LONGEST_DOCUMENT:
        raise ValueError("it is too long for what a trial of objects says")
    read = _Reading()
    for line in data.decode("utf-8", "backslashreplace").split("\n"):
        read.line(line)
    return read.result(directory, image)


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self._loader = ""
        self._found = 0
        self._name = ""
        self._lines: list[str] = []
        self._answers: dict[str, Any] = {}
        self._left: list[str] = []

    def line(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "|":
            self._lines.append(rest)
        elif word == "object":
            self._name, self._lines = rest, []
        elif word == "end":
            self._end(line)
        elif word == "left":
            self._left.append(_checked(rest))
        elif word == "loader":
            self._loader = rest[:_LONGEST_WORD]
        elif word == "found" and rest.isascii() and rest.isdigit():
            self._found = int(rest[:6])
        elif line:
            raise ValueError(f"{line[:60]!r} is not what a trial of objects says")

    def _end(self, line: str) -> None:
        match = _END.fullmatch(line)
        name = _checked(self._name)
        if match is None or name in self._answers or len(self._answers) == _MOST_OBJECTS:
            raise ValueError(f"the answer about {name[:60]} cannot be read")
        self._answers[name] = self._answer(name, match)
        self._name = ""

    def _answer(self, name: str, match: re.Match[str]) -> Any:
        if match["mark"]:
            return match["mark"]
        code, by = int(match["code"]), self._by()
        if by == "bpftool" and code == _KILLED:
            return "timeout"
        if by == "bpftool" and _SIGNALLED < code < _FAILED:
            return "killed"
        refusal = _refusal(name, code if by == "libbpf" else 0, self._lines)
        if match["partly"]:
            return ("partly", refusal)
        return "accepted" if code == 0 else ("refused", refusal)

    def _by(self) -> Literal["libbpf", "bpftool"]:
        if self._loader.startswith("libbpf "):
            return "libbpf"
        if self._loader.startswith("bpftool"):
            return "bpftool"
        raise ValueError("it does not tell what loaded the objects")

    def result(self, directory: str, image: str) -> ObjectTrial:
        if self._name:
            raise ValueError(f"the answer about {self._name[:60]} has no end")
        named = sorted((name, answer) for name, answer in self._answers.items() if _OF_CALICO.match(name))
        left = sorted(filter(_OF_CALICO.match, self._left))
        tagged = [answer for _, answer in named if isinstance(answer, tuple)]
        return ObjectTrial(
            directory=directory,
            image=image,
            loader=self._loader,
            by=self._by(),
            accepted=tuple(name for name, answer in named if answer == "accepted"),
            partly=tuple(refusal for tag, refusal in tagged if tag == "partly"),
            refused=tuple(refusal for tag, refusal in tagged if tag == "refused"),
            undecided=tuple((name, answer) for name, answer in named if answer in _UNDECIDED),
            left=tuple(left),
            strange=max(self._found - len(named) - len(left), 0),
        )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("an object has no name that can be one")
    return name


def _refusal(name: str, code: int, lines: list[str]) -> ObjectRefusal:
    told = [match for line in lines if (match := _ERRNO.search(line))]
    number = int(told[-1][1]) if told else code
    programs = [match[1] for line in lines if (match := _PROGRAM.search(line))]
    telling = [line[:_LONGEST_WORD] for line in lines if line.strip() and not _IDLE.match(line)]
    verifier = [line for line in telling if not _FROM_LIBBPF.match(line)]
    return ObjectRefusal(
        name=name,
        errno=errno.errorcode.get(number, ""),
        program=programs[-1] if programs else "",
        words=tuple((verifier or telling)[-_MOST_WORDS:]),
        from_verifier=any(not _STATISTICS.match(line) for line in verifier),
    )
