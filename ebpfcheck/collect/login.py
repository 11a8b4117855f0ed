"""How to reach a cluster: what the kubernetes client makes of a kubeconfig, loaded where it can be ended."""

import os
import selectors
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ebpfcheck.collect.process import end_tree

if TYPE_CHECKING:
    from ebpfcheck.collect.access import Access


_SLICE = 0.2
# How long a process that has answered may take to be gone, in seconds.
_FAREWELL = 2.0


class Login:
    """A kubeconfig being loaded; leaving its `with` block ends what still runs, an exec plugin included."""

    def __init__(self, kubeconfig: str | None, context: str | None, timeout: float) -> None:
        self._arguments = (kubeconfig or "", context or "")
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._lock = threading.Lock()
        self._is_over = False
        self._loading: _Loading | None = _Loading(self._arguments)
        self._loaded: Access | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
            if self._loading is not None:
                self._loading.end()

    def access(self) -> "Access":
        """Return what was loaded; UsageError for a wrong kubeconfig or context, CannotRunError where it gives none."""
        # Imported here, while the process is at work: it starts that much earlier.
        import msgspec

        from ebpfcheck.collect.access import Access, Refusal
        from ebpfcheck.errors import CannotRunError, UsageError
        from ebpfcheck.model.text import excerpt

        loading = self._loading
        if loading is None and self._loaded is not None:
            return self._loaded
        if loading is None:
            raise CannotRunError("the kubeconfig is no longer being loaded")
        try:
            data = loading.read(self._deadline)
        finally:
            with self._lock:
                loading.end()
                self._loading = None
        if data is None:
            raise CannotRunError(
                f"loading the kubeconfig took longer than {self._timeout:g} s; an exec plugin may hang"
            )
        try:
            answer = msgspec.json.decode(data, type=Access | Refusal)
        except msgspec.MsgspecError:
            raise CannotRunError(f"loading the kubeconfig ended with code {loading.code}") from None
        if isinstance(answer, Refusal):
            raise (UsageError if answer.is_usage else CannotRunError)(excerpt(answer.words, 400))
        self._loaded = answer
        return answer

    def again(self) -> "Access":
        """Load it once more, for credentials that have expired; errors as with `access`."""
        with self._lock:
            # The `with` block may be left while a thread still asks for this.
            self._loading = None if self._is_over else _Loading(self._arguments)
            self._loaded = None
        return self.access()


class _Loading:
    """A process that loads a kubeconfig."""

    def __init__(self, arguments: tuple[str, str]) -> None:
        self._is_read = False
        self._token = os.urandom(8).hex()
        out, child_end = os.pipe()
        self._out = os.fdopen(out, "rb", buffering=0)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # -P: what lies in the current directory is no module of ours.
                (sys.executable, "-P", "-m", "ebpfcheck.collect.login_child", str(child_end), *arguments, self._token),
                pass_fds=(child_end,),
                # An exec plugin may ask the user something, but only on a terminal.
                stdin=None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if sys.stderr is not None and sys.stderr.isatty() else subprocess.DEVNULL,
            )
        finally:
            os.close(child_end)

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended."""
        return self._process.returncode

    def read(self, deadline: float) -> bytes | None:
        """Return what it wrote to its end; None if that did not come before the deadline (time.monotonic)."""
        chunks: list[bytes] = []
        with self._out, selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                # In slices, since a signal that comes just before a wait is heeded only after it.
                if not selector.select(min(left, _SLICE)):
                    continue
                chunk = self._out.read(65536)
                if not chunk:
                    self._is_read = True
                    return b"".join(chunks)
                chunks.append(chunk)
        return None

    def end(self) -> None:
        """End it and what it has started, unless it is about to end by itself, having said all it had to."""
        try:
            self._process.wait(timeout=_FAREWELL if self._is_read else 0)
        except subprocess.TimeoutExpired:
            end_tree(self._process)
            self._process.wait()
            self._remove_files()

    def _remove_files(self) -> None:
        """Remove what it could not remove itself: the keys of a kubeconfig may be among it."""
        import shutil
        import tempfile
        from pathlib import Path

        for folder in Path(tempfile.gettempdir()).glob(f"ebpfcheck-{self._token}-*"):
            shutil.rmtree(folder, ignore_errors=True)
