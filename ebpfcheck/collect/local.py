"""The road to the machine that ebpfcheck runs on."""

import os
import selectors
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from ebpfcheck.collect.framing import SURVEY_LIMIT
from ebpfcheck.collect.process import end_tree
from ebpfcheck.collect.transport import Survey
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.facts import Reason, SourceKind

SURVEY_SCRIPT = Path(__file__).with_name("survey.sh")


class LocalTransport:
    """Runs the survey under this machine's own `sh`."""

    kind = SourceKind.LOCAL

    def __init__(self, shell: tuple[str, ...] = ("sh",)) -> None:
        self._shell = shell

    def start(self, timeout: float) -> "LocalSurvey":
        """Start survey.sh, to last `timeout` seconds at most; CannotRunError if there is no shell to run it."""
        program = shutil.which(self._shell[0]) or shutil.which(self._shell[0], path=os.defpath)
        if program is None:
            raise CannotRunError(f"this machine has no {self._shell[0]} to run the survey with")
        nonce = os.urandom(16).hex()
        with SURVEY_SCRIPT.open("rb") as script:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own script under the system's shell
                    (program, *self._shell[1:], "-s", nonce),
                    stdin=script,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                )
            except OSError as error:
                raise CannotRunError(f"{program} could not be started: {error.strerror} ({error.filename})") from error
        return LocalSurvey(process, nonce, timeout)


class LocalSurvey:
    """The survey running on this machine."""

    def __init__(self, process: subprocess.Popen[bytes], nonce: str, timeout: float) -> None:
        self._process = process
        self._nonce = nonce
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            end_tree(self._process)
        self._process.__exit__(None, None, None)

    def finish(self) -> Survey:
        """Wait for the survey's end or its deadline and return what was printed until then."""
        data, cut = _read(cast(IO[bytes], self._process.stdout), self._deadline)
        detail = {
            None: "",
            Reason.TIMEOUT: f"the survey took longer than {self._timeout:g} s",
            Reason.TRUNCATED: f"the survey printed more than {SURVEY_LIMIT} bytes",
        }[cut]
        return Survey(data=data, nonce=self._nonce, cut=cut, detail=detail)


def _read(stdout: IO[bytes], deadline: float) -> tuple[bytes, Reason | None]:
    chunks: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return b"".join(chunks), Reason.TIMEOUT
            chunk = stdout.read(65536)
            if not chunk:
                return b"".join(chunks), None
            chunks.append(chunk)
            size += len(chunk)
            if size > SURVEY_LIMIT:
                return b"".join(chunks)[:SURVEY_LIMIT], Reason.TRUNCATED
