"""The road to a host over SSH, by the user's own OpenSSH client: it alone honours all of the user's configuration."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ebpfcheck.collect.output import Output, SurveyProcess, read_output
from ebpfcheck.collect.process import end_tree
from ebpfcheck.collect.targets import Target, parse_target
from ebpfcheck.collect.transport import NotReachedError, Survey, Trial, cut_words, open_survey, survey_arguments
from ebpfcheck.errors import CannotRunError, UsageError
from ebpfcheck.model.facts import Endpoint, Reason, SourceKind
from ebpfcheck.model.text import excerpt

# How long a connection may take to be made, in seconds; --ssh-option ConnectTimeout says otherwise.
_CONNECT_TIMEOUT = 10
# The code by which ssh tells its own failures from those of the remote command.
_SSH_FAILED = 255
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*=[^\x00-\x1f]+")
# The longest path of a Unix socket is 107 bytes, and ssh adds 17 to the name while it makes it.
_SOCKET_LIMIT = 90
_PACE = 0.02
_WORDS_LIMIT = 300
# What the last lines of ssh's words say, and what that is to us; the first that matches counts.
_REASONS = (
    ("Permission denied", Reason.FORBIDDEN),
    ("Too many authentication failures", Reason.FORBIDDEN),
    ("timed out", Reason.TIMEOUT),
)
_UNKNOWN_KEY = re.compile(r"No \S+ host key is known for .* and you have requested strict checking")
_SUDO_REFUSED = re.compile(r"^sudo: .*(?:password is required|terminal is required|must have a tty|not allowed)", re.M)
_NO_SHELL = re.compile(r"not found|[Nn]o such file|not recognized|[Uu]nknown command")


class SshOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of ssh besides what its own configuration says."""

    options: tuple[str, ...] = ()
    """KEY=VALUE each, as for ssh's -o."""
    config: str | None = None
    identity: str | None = None
    jump: str | None = None
    become: bool = False
    """Whether the survey is run under sudo."""

    def checked(self) -> Self:
        """Return these options; UsageError for what ssh would stumble over at every host."""
        for option in self.options:
            if not _OPTION.fullmatch(option):
                raise UsageError(f"--ssh-option: {excerpt(option, 60)!r} is not KEY=VALUE, such as User=admin")
        for name, path in (("--identity", self.identity), ("--ssh-config", self.config)):
            if path is not None and not os.access(path, os.R_OK):
                raise UsageError(f"{name}: {excerpt(path)} cannot be read")
        if self.jump is not None:
            for host in self.jump.split(","):
                parse_target(host)
        return self


class SshClient:
    """The OpenSSH client with options for many hosts; inside `with` a jump host is connected to once for all."""

    def __init__(self, options: SshOptions, timeout: float) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise CannotRunError("this machine has no ssh to reach hosts with (Debian: openssh-client)")
        self._options = options
        # What the user sets comes first, as ssh goes by the first that it is told.
        self._base = (
            program,
            *(("-F", options.config) if options.config is not None else ()),
            *(part for option in options.options for part in ("-o", option)),
            *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(min(_CONNECT_TIMEOUT, timeout)))}"),
            # Without what only a terminal is for, and without the server's banner, which is not ssh's word.
            *("-o", "LogLevel=ERROR", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-T"),
            *(("-i", options.identity) if options.identity is not None else ()),
        )
        self._road: tuple[str, ...] = ("-J", options.jump) if options.jump is not None else ()
        self._master: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._master is not None:
            end_tree(self._master)
            self._master.__exit__(None, None, None)
        if self._folder is not None:
            self._folder.cleanup()

    def connect_jump(self, timeout: float) -> None:
        """Make the one connection to the jump host, if there is one; CannotRunError with ssh's words if it fails."""
        jump = self._options.jump
        if jump is None:
            return
        before, _, last = jump.rpartition(",")
        jump_at = _destination(parse_target(last))
        self._folder = tempfile.TemporaryDirectory(prefix="ebpfcheck-")
        socket = Path(self._folder.name, "jump")
        if len(os.fsencode(socket)) > _SOCKET_LIMIT:
            # Each host has a connection of its own through the jump host then.
            return
        through = ("-J", before) if before else ()
        master = (*self._base, *through, "-o", "ControlMaster=yes", "-o", f"ControlPath={socket}", "-N", *jump_at)
        self._master = subprocess.Popen(  # noqa: S603 - the user's own ssh
            master, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        deadline = time.monotonic() + timeout
        while not socket.exists():
            if self._master.poll() is not None or time.monotonic() > deadline:
                output = read_output(self._master, time.monotonic(), 0)
                raise CannotRunError(f"--jump {excerpt(jump, 60)}: {_told(output) or f'no answer in {timeout:g} s'}")
            time.sleep(_PACE)
        proxy = " ".join(
            (*map(_quoted, self._base), "-S", _quoted(str(socket)), "-W", "'[%h]:%p'", *map(_quoted, jump_at))
        )
        self._road = ("-o", f"ProxyCommand={proxy}")

    def command(self, target: Target, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs the survey on a host with these arguments, its script on stdin."""
        return (
            *self._base,
            *self._road,
            *_destination(target),
            # Words that every shell reads alike, as the one that gets them is the account's login shell.
            " ".join((*(("sudo", "-n") if self._options.become else ()), "sh", "-s", *arguments)),
        )


def _destination(target: Target) -> tuple[str, ...]:
    """Return the words by which ssh is told of a host; they come last of all that is for ssh itself."""
    user = ("-l", target.user) if target.user is not None else ()
    port = ("-p", str(target.port)) if target.port is not None else ()
    return (*user, *port, "--", target.host)


def _quoted(word: str) -> str:
    """Return a word as /bin/sh reads it inside a ProxyCommand, where ssh itself reads the percent signs."""
    return "'" + word.replace("'", "'\\''").replace("%", "%%") + "'"


class SshTransport:
    """The road to one host."""

    kind = SourceKind.SSH

    def __init__(
        self, client: SshClient, target: Target, endpoints: Sequence[Endpoint] = (), trial: Trial = "none"
    ) -> None:
        self._client = client
        self._trial: Trial = trial
        self._target = target
        self._endpoints = endpoints

    def start(self, timeout: float) -> "SshSurvey":
        """Start survey.sh on the host, to last `timeout` seconds at most; NotReachedError if ssh cannot be started."""
        nonce = os.urandom(16).hex()
        with open_survey(self._trial, timeout) as script:
            try:
                process = subprocess.Popen(  # noqa: S603 - the user's own ssh
                    self._client.command(self._target, survey_arguments(nonce, self._endpoints)),
                    stdin=script,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                )
            except OSError as error:
                raise NotReachedError(Reason.UNREACHABLE, f"ssh could not be started: {error.strerror}") from error
        return SshSurvey(process, nonce, timeout, self._trial)


class SshSurvey(SurveyProcess):
    """The survey running on a host."""

    def finish(self) -> Survey:
        """Return what the host printed until its end or the deadline; NotReachedError with ssh's words if nothing."""
        output = self.output()
        mark = f"ebpfcheck-{self._nonce}".encode()
        if mark + b" begin" not in output.stdout:
            raise _not_reached(output, self._timeout)
        if mark + b" done" in output.stdout:
            return Survey(data=output.stdout, nonce=self._nonce, trial=self._trial)
        detail = cut_words(output.cut, self._timeout) or f"the survey was cut off before its end{_after(_told(output))}"
        return Survey(
            data=output.stdout,
            nonce=self._nonce,
            cut=output.cut or Reason.TRUNCATED,
            detail=detail,
            trial=self._trial,
        )


def _after(words: str) -> str:
    return f": {words}" if words else ""


def _told(output: Output) -> str:
    """Return the last lines of ssh's words."""
    lines = [line.strip() for line in output.stderr.decode("utf-8", "backslashreplace").splitlines()]
    said = [line for line in lines if line.strip("@ ")]
    return excerpt("; ".join(dict.fromkeys(said[-3:])), _WORDS_LIMIT)


def _not_reached(output: Output, timeout: float) -> NotReachedError:
    """Tell why there is no survey, from how ssh ended and what it said."""
    words = _told(output)
    if output.cut is Reason.TIMEOUT:
        return NotReachedError(Reason.TIMEOUT, f"no survey within {timeout:g} s{_after(words)}")
    if output.code == _SSH_FAILED and words:
        if _UNKNOWN_KEY.search(words):
            words += " (connect once by hand, or give --ssh-option StrictHostKeyChecking=accept-new)"
        reason = next((reason for mark, reason in _REASONS if mark in words), Reason.UNREACHABLE)
        return NotReachedError(reason, words)
    text = output.stderr.decode("utf-8", "backslashreplace")
    if _SUDO_REFUSED.search(text):
        return NotReachedError(Reason.FORBIDDEN, f"--become: {words}")
    if output.code in (126, 127) or _NO_SHELL.search(text):
        return NotReachedError(Reason.TOOL_MISSING, f"no sh could be run there: {words or f'exit code {output.code}'}")
    printed = output.stdout[: 4 * _WORDS_LIMIT].decode("utf-8", "backslashreplace").split("\n")
    heard = words or next((line.strip() for line in printed if line.strip()), "")
    detail = f"what the host ran printed no survey and ended with code {output.code}"
    return NotReachedError(Reason.UNSUPPORTED, detail + _after(excerpt(heard, _WORDS_LIMIT)))
