"""The road to the machine that ebpfcheck runs on."""

import secrets
import selectors
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO, cast

from ebpfcheck.collect.framing import SURVEY_LIMIT
from ebpfcheck.collect.transport import Survey
from ebpfcheck.errors import CannotRunError
from ebpfcheck.model.facts import Reason, SourceKind

SURVEY_SCRIPT = Path(__file__).with_name("survey.sh")


class LocalTransport:
    """Runs the survey under this machine's own `sh`."""

    kind = SourceKind.LOCAL

    def __init__(self, shell: tuple[str, ...] = ("sh",)) -> None:
        self._shell = shell

    def survey(self, timeout: float) -> Survey:
        """Run survey.sh on this machine for at most `timeout` seconds."""
        program = shutil.which(self._shell[0])
        if program is None:
            raise CannotRunError(f"this machine has no {self._shell[0]} to run the survey with")
        nonce = secrets.token_hex(16)
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
                raise CannotRunError(f"{program} could not be started: {error.strerror}") from error
        with process:
            try:
                data, cut = _read(cast(IO[bytes], process.stdout), time.monotonic() + timeout)
            except BaseException:
                _end_tree(process)
                raise
            if cut is not None:
                _end_tree(process)
        detail = {
            None: "",
            Reason.TIMEOUT: f"the survey took longer than {timeout:g} s",
            Reason.TRUNCATED: f"the survey printed more than {SURVEY_LIMIT} bytes",
        }[cut]
        return Survey(data=data, nonce=nonce, cut=cut, detail=detail)


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


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    import psutil

    try:
        tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        return
    for member in tree:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
