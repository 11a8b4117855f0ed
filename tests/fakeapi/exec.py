"""Commands in containers over a websocket."""

import os
import selectors
import socket
import ssl
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec

from tests.fakeapi.container import end_group
from tests.fakeapi.story import Object
from tests.fakeapi.websocket import BINARY, CLOSE, NORMAL, PING, PONG, Reader, accept, frame

STDIN, STDOUT, STDERR, ERROR, CLOSE_CHANNEL = 0, 1, 2, 3, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
# The API server serves the first itself, whatever the client's order; all else goes to the kubelet.
PROTOCOLS = (V5, V4)


@dataclass(frozen=True)
class ExecLife:
    """What becomes of a command: it is really run on this machine, unless the script says otherwise.

    ARGV is run in its stead: another argv, or a function of the one asked for. With STDOUT nothing is run: that is
    sent, then STDERR and EXIT_CODE. Output comes in frames of FRAME bytes at most. After CUT bytes of standard output
    the connection ends without a close frame. HANG: after the fixed output nothing more comes, nor an end.
    ANSWER, a status and a text, comes instead of the upgrade. GONE: the kubelet knows no such container.
    """

    argv: Sequence[str] | Callable[[Sequence[str]], Sequence[str]] | None = None
    _: KW_ONLY
    stdout: bytes | None = None
    stderr: bytes = b""
    exit_code: int = 0
    frame: int = 32 * 1024
    cut: int | None = None
    hang: bool = False
    answer: tuple[int, str] | None = None
    gone: bool = False

    def replaced(self, command: Sequence[str]) -> Sequence[str]:
        """The argv that is run for a command."""
        if self.argv is None:
            return command
        return self.argv(command) if callable(self.argv) else self.argv


@dataclass(frozen=True)
class ExecRequest:
    """What a client asks for; one that wants neither output nor errors has only the last channel."""

    command: Sequence[str]
    stdin: bool
    stdout: bool
    stderr: bool
    protocol: str
    key: str


def success() -> Object:
    return {"metadata": {}, "status": "Success"}


def exited(code: int, request: ExecRequest) -> Object:
    """The Status of a command that failed, in the words of the API server (v5) or of the kubelet (v4)."""
    words = f"error executing command [{' '.join(request.command)}], exit code {code}"
    if request.protocol == V5:
        words = f"command terminated with exit code {code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {words}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error(message: str) -> Object:
    """The Status of a command that could not be run."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def not_started(error: OSError, request: ExecRequest) -> Object:
    """The Status of a command that is not there, or cannot be run."""
    name = request.command[0]
    why = "executable file not found in $PATH" if isinstance(error, FileNotFoundError) else "permission denied"
    message = (
        f'error executing command in container: failed to exec in container: failed to start exec "{"5f" * 32}": OCI '
        f'runtime exec failed: exec failed: unable to start container process: exec: "{name}": {why}: unknown'
    )
    # The API server wraps once more what the kubelet told it.
    return internal_error(f"Internal error occurred: {message}" if request.protocol == V5 else message)


def no_container(name: str) -> str:
    return f'unable to upgrade connection: container not found ("{name}")'


class Session:
    """One command over one connection: a single thread moves all bytes, so TLS is never used by two at once."""

    def __init__(self, request: ExecRequest, life: ExecLife, failure: Object | None = None) -> None:
        """With a FAILURE that is all that is told, after the upgrade."""
        self._request, self._life, self._failure = request, life, failure
        self._reader = Reader()
        self._stdin = bytearray()
        self._stdin_ends = False
        self._left = life.cut
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Upgrade the connection and move bytes until the command or the client ends."""
        assert isinstance(handler.connection, ssl.SSLSocket)
        self._connection = handler.connection
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept(self._request.key)}",
            f"Sec-WebSocket-Protocol: {self._request.protocol}",
        )
        self._connection.sendall("\r\n".join((*lines, "", "")).encode())
        self._selector.register(self._connection, selectors.EVENT_READ)
        try:
            self._talk()
        except (_OverError, OSError):
            pass
        finally:
            if self._process is not None:
                end_group(self._process)
                for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                    if pipe is not None:
                        pipe.close()
            self._selector.close()

    def _talk(self) -> None:
        # Servers say so that the connection is there: an empty message on the first channel that they write to.
        first = STDOUT if self._request.stdout else STDERR if self._request.stderr else ERROR
        self._send(first, b"")
        life = self._life
        if self._failure is not None:
            self._end(self._failure)
        elif life.stdout is not None or life.hang:
            self._output(STDOUT, life.stdout or b"")
            self._output(STDERR, life.stderr)
            if life.hang:
                while True:
                    self._wait()
            self._end(exited(life.exit_code, self._request) if life.exit_code else success())
        else:
            try:
                self._run(life.replaced(self._request.command))
            except OSError as error:
                if self._process is not None:
                    raise
                self._end(not_started(error, self._request))

    def _run(self, argv: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._process = process = subprocess.Popen(
            argv,
            stdin=pipe if self._request.stdin else subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
        for stream, channel in ((process.stdout, STDOUT), (process.stderr, STDERR)):
            self._selector.register(stream, selectors.EVENT_READ, channel)
        open_outputs = 2
        while open_outputs:
            for channel, stream in self._wait():
                if channel == STDIN:
                    self._feed()
                elif piece := os.read(stream.fileno(), self._life.frame):
                    self._output(channel, piece)
                else:
                    self._selector.unregister(stream)
                    open_outputs -= 1
        code = process.wait()
        self._end(exited(code if code > 0 else 128 - code, self._request) if code else success())

    def _wait(self) -> list[tuple[int, Any]]:
        """The channels of which the pipes are ready; takes in what the client has sent meanwhile."""
        ready = self._selector.select()
        for key, _ in ready:
            if key.fileobj is self._connection:
                self._receive()
        # What the client sent may have ended a pipe.
        known = self._selector.get_map()
        return [(key.data, key.fileobj) for key, _ in ready if key.data is not None and key.fileobj in known]

    def _receive(self) -> None:
        self._connection.settimeout(0)
        data = bytearray()
        try:
            while True:
                piece = self._connection.recv(65536)
                if not piece:
                    raise _OverError
                data += piece
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        finally:
            self._connection.settimeout(None)
        for opcode, payload in self._reader.feed(bytes(data)):
            if opcode == CLOSE:
                with suppress(OSError):
                    self._connection.sendall(frame(CLOSE, payload[:2]))
                raise _OverError
            if opcode == PING:
                self._connection.sendall(frame(PONG, payload))
            elif opcode != PONG and payload:
                self._take(payload[0], payload[1:])

    def _take(self, channel: int, data: bytes) -> None:
        if channel == CLOSE_CHANNEL and self._request.protocol == V5 and data[:1] == bytes((STDIN,)):
            self._stdin_ends = True
        elif channel == STDIN:
            self._stdin += data
        self._watch_stdin()

    def _watch_stdin(self) -> None:
        stdin = self._process.stdin if self._process is not None else None
        if stdin is None or stdin.closed or stdin in self._selector.get_map():
            return
        if self._stdin:
            self._selector.register(stdin, selectors.EVENT_WRITE, STDIN)
        elif self._stdin_ends:
            stdin.close()

    def _feed(self) -> None:
        assert self._process is not None
        stdin = self._process.stdin
        assert stdin is not None
        try:
            del self._stdin[: os.write(stdin.fileno(), self._stdin[:65536])]
        except BrokenPipeError:
            self._stdin.clear()
            self._stdin_ends = True
        if not self._stdin:
            self._selector.unregister(stdin)
            self._watch_stdin()

    def _output(self, channel: int, data: bytes) -> None:
        if not (self._request.stdout if channel == STDOUT else self._request.stderr):
            return
        for start in range(0, len(data), self._life.frame):
            piece = data[start : start + self._life.frame]
            if channel == STDOUT and self._left is not None:
                piece = piece[: self._left]
                self._left -= len(piece)
            if piece:
                self._send(channel, piece)
            if self._left == 0:
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
                raise _OverError

    def _send(self, channel: int, data: bytes) -> None:
        self._connection.sendall(frame(BINARY, bytes((channel,)) + data))

    def _end(self, status: Object) -> None:
        self._send(ERROR, msgspec.json.encode(status))
        self._connection.sendall(frame(CLOSE, NORMAL.to_bytes(2, "big")))
        # The client's own end comes first: what it has not read yet would be lost if this side went away at once.
        self._connection.settimeout(2)
        while self._connection.recv(65536):
            pass


class _OverError(Exception):
    """The connection has ended."""
