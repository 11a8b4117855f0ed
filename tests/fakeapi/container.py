"""Containers that are really run: processes of this machine."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.fakeapi.podlife import ITS_COMMAND
from tests.fakeapi.story import Object

# What a shell answers with if there is no such command.
NOT_FOUND = 127


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, with all that it started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(spec: Object) -> dict[str, str]:
    """The environment of a pod's first container."""
    own = {entry["name"]: entry.get("value", "") for entry in spec["containers"][0].get("env", ())}
    return {"PATH": os.environ["PATH"], **own}


def arguments(argv: Sequence[str], spec: Object) -> tuple[list[str], bytes]:
    """The argv to run for a pod's first container, and what it reads from its standard input."""
    container = spec["containers"][0]
    if ITS_COMMAND not in argv:
        return list(argv), "\n".join(container.get("args", ())).encode()
    own = [*container.get("command", ()), *container.get("args", ())]
    return [word for part in argv for word in (own if part == ITS_COMMAND else [part])], b""


class Container:
    """A running command; hands over what it prints, then its exit code, from a thread of its own."""

    def __init__(
        self, argv: Sequence[str], spec: Object, printed: Callable[[bytes], None], ended: Callable[[int], None]
    ) -> None:
        command, self._stdin = arguments(argv, spec)
        self._printed, self._ended = printed, ended
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(spec),
            start_new_session=True,
        )
        self._threads = [threading.Thread(target=self._write), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """End the command; does not wait for the threads, which may be calling."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def join(self) -> None:
        """Wait for the threads, after kill()."""
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(self._stdin)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            while piece := os.read(stdout.fileno(), 65536):
                self._printed(piece)
        code = self._process.wait()
        self._ended(code if code >= 0 else 128 - code)
