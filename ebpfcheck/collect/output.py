"""What a process that was started prints, up to its end, a deadline or a limit."""

import os
import selectors
import subprocess
import time
from types import TracebackType
from typing import IO, Self, cast

import msgspec

from ebpfcheck.collect.framing import SURVEY_LIMIT
from ebpfcheck.collect.process import end_tree
from ebpfcheck.collect.transport import Trial
from ebpfcheck.model.facts import Reason

# How long a process that has closed its output may take to end by itself, in seconds.
_FAREWELL = 2.0
# What is kept of the end of what a process complains of, in bytes.
_WORDS_KEPT = 16 * 1024
_CHUNK = 65536


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a process printed; `cut` says why reading ended early, `code` is None where it had to be killed."""

    stdout: bytes
    stderr: bytes = b""
    """The last few KiB of it."""
    code: int | None = None
    cut: Reason | None = None


def read_output(process: subprocess.Popen[bytes], deadline: float, limit: int) -> Output:
    """Read what a process prints until it ends, the deadline (time.monotonic) passes or `limit` bytes are there.

    What still runs then is killed. That something else keeps stderr open, as a connection does that outlives its ssh,
    is not waited for.
    """
    stdout, stderr = cast(IO[bytes], process.stdout), process.stderr
    chunks: list[bytes] = []
    words = b""
    size = 0
    cut: Reason | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        if stderr is not None:
            os.set_blocking(stderr.fileno(), False)
            selector.register(stderr, selectors.EVENT_READ)
        is_open = True
        while is_open and cut is None:
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                cut = Reason.TIMEOUT
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if key.fileobj is stdout:
                    chunks.append(chunk)
                    size += len(chunk)
                    is_open = bool(chunk)
                    cut = Reason.TRUNCATED if size > limit else None
                elif chunk:
                    words = (words + chunk)[-_WORDS_KEPT:]
                else:
                    selector.unregister(key.fileobj)
    code = _code(process, 0 if cut else min(_FAREWELL, max(deadline - time.monotonic(), 0)))
    if stderr is not None:
        words = (words + _rest(stderr))[-_WORDS_KEPT:]
    return Output(stdout=b"".join(chunks)[:limit], stderr=words, code=code, cut=cut)


def _code(process: subprocess.Popen[bytes], patience: float) -> int | None:
    try:
        return process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        end_tree(process)
        return None


def _rest(stream: IO[bytes]) -> bytes:
    try:
        return os.read(stream.fileno(), _CHUNK)
    except BlockingIOError:
        return b""


class SurveyProcess:
    """A process that prints a survey; leaving the `with` block ends it and all that it started."""

    def __init__(self, process: subprocess.Popen[bytes], nonce: str, timeout: float, trial: Trial = "none") -> None:
        self._process = process
        self._trial: Trial = trial
        self._nonce = nonce
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
        self._process.__exit__(None, None, None)

    def end(self) -> None:
        """End it now, from any thread."""
        if self._process.poll() is None:
            end_tree(self._process)

    def output(self) -> Output:
        """Wait for the survey's end or its deadline and return what was printed until then."""
        return read_output(self._process, self._deadline, SURVEY_LIMIT)
