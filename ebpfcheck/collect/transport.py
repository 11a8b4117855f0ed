"""Roads to a node: what every transport does, and what it brings back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Protocol, Self

import msgspec

from ebpfcheck.collect.framing import SURVEY_LIMIT
from ebpfcheck.model.facts import Endpoint, Reason, SourceKind

SURVEY_SCRIPT = Path(__file__).with_name("survey.sh")
_TRIAL_SCRIPT = Path(__file__).with_name("trial.sh")
_TRIAL_PROGRAM = Path(__file__).parent.with_name("trial") / "kernel.py"
_OBJECTS_SCRIPT = Path(__file__).with_name("objects_trial.sh")
_OBJECTS_PROGRAM = Path(__file__).parent.with_name("trial") / "objects.py"
_OBJECTS_BY_BPFTOOL = Path(__file__).parent.with_name("trial") / "objects.sh"
_TRIAL_PLACE = "# A trial that was asked for is put in here.\n"


class ObjectsTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A trial of the BPF objects in a directory."""

    directory: str
    image: str = ""
    """The image that the directory is in; empty where it is the node's own."""


NamedTrial = Literal["none", "kernel"]
"""Those that a name says all of."""
Trial = NamedTrial | ObjectsTrial
"""What is tried on a node beside the survey; the trial's words are the last section of the survey's document."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What came back of one run of the survey; `cut` says why it ended early, None where it did not."""

    data: bytes
    nonce: str
    cut: Reason | None = None
    detail: str = ""
    declared: tuple[str, ...] = ()
    """Paths of the node that the container in which the survey ran shows at the same path."""
    trial: Trial = "none"
    """What was to be tried, whether or not it came to that."""


# The longest that a trial may take, in seconds, and which part of what there is for the node.
_TRIAL_LIMIT, _TRIAL_SHARE = 60, 0.6
# The part of it that objects may take, and one of them at most, in seconds.
_OBJECTS_SHARE, _OBJECT_LIMIT = 0.8, 60


def survey_text(trial: Trial, timeout: float) -> str:
    """Return survey.sh with what a trial takes, for a shell to run; `timeout` (seconds) is for all of it.

    The program of the trial goes along as a word of the shell's own, not as a file, which a node may have no place for.
    """
    text = SURVEY_SCRIPT.read_text(encoding="utf-8")
    if trial == "none":
        return text
    # Imported here since most runs do without.
    from shlex import quote

    before, place, after = text.partition(_TRIAL_PLACE)
    if not place:
        raise ValueError("survey.sh has no place for a trial")
    if isinstance(trial, ObjectsTrial):
        words = {
            "program": _OBJECTS_PROGRAM.read_text(encoding="utf-8"),
            "EBPFCHECK_OBJECTS": _OBJECTS_BY_BPFTOOL.read_text(encoding="utf-8"),
            "directory": trial.directory,
            "image": trial.image,
            "seconds": str(max(1, int(timeout * _OBJECTS_SHARE))),
            "each": str(_OBJECT_LIMIT),
        }
        given = "\n".join(f"{name}={quote(word)}" for name, word in words.items())
        return f"{before}{given}\n{_OBJECTS_SCRIPT.read_text(encoding='utf-8')}{after}"
    program = quote(_TRIAL_PROGRAM.read_text(encoding="utf-8"))
    limit = max(1, int(min(_TRIAL_LIMIT, timeout * _TRIAL_SHARE)))
    return f"{before}limit={limit}\nprogram={program}\n{_TRIAL_SCRIPT.read_text(encoding='utf-8')}{after}"


@contextmanager
def open_survey(trial: Trial, timeout: float) -> Iterator[IO[bytes]]:
    """Open what a shell on a node is given on stdin; `timeout` (seconds) is for all of it."""
    if trial == "none":
        with SURVEY_SCRIPT.open("rb") as script:
            yield script
        return
    from tempfile import TemporaryFile

    with TemporaryFile() as script:
        script.write(survey_text(trial, timeout).encode())
        script.seek(0)
        yield script


def survey_arguments(nonce: str, endpoints: Sequence[Endpoint] = (), root: str = "/") -> tuple[str, ...]:
    """Return the words that survey.sh is run with; every shell reads them alike, quoted or not."""
    addresses = (word for endpoint in endpoints for word in (endpoint.host, str(endpoint.port)))
    return (nonce, root, *addresses) if endpoints or root != "/" else (nonce,)


class NotReachedError(Exception):
    """A node that no survey came back from, why, and the words of what failed on the way."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


class Running(Protocol):
    """A survey under way; leaving its `with` block ends it and all that it started."""

    def finish(self) -> Survey:
        """Wait for the survey's end or its deadline and return what was printed until then.

        NotReachedError where nothing of it came.
        """

    def end(self) -> None:
        """End it now, from any thread; `finish` returns with what there is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """A road to one node."""

    @property
    def kind(self) -> SourceKind:
        """The kind that the facts' sources carry."""

    def start(self, timeout: float) -> Running:
        """Start survey.sh on the node, to last `timeout` seconds at most; NotReachedError if that cannot be done."""


def cut_words(cut: Reason | None, timeout: float) -> str:
    """Say why what a survey printed was not read to its end, in words for the user; "" where it was."""
    if cut is Reason.TIMEOUT:
        return f"the survey took longer than {timeout:g} s"
    return f"the survey printed more than {SURVEY_LIMIT} bytes" if cut else ""
