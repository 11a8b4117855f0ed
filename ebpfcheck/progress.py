"""The line on a terminal that says how far it is."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

_PATIENCE, _PACE = 1.0, 0.1


class Progress:
    """A line on stderr that is written anew, once more than a second has passed and only on a terminal."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._width = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._wipe()
            self._on_terminal = False

    def show(self, text: str) -> None:
        """Show how far it is, in place of what was shown before."""
        now = time.monotonic()
        with self._lock:
            if self._on_terminal and now - self._started > _PATIENCE and now - self._last > _PACE:
                self._last = now
                self._write(f"\r{text:<{self._width}}")
                self._width = len(text)

    def follow(self, text: str) -> None:
        """Say what has changed: in the line on a terminal, else in one that stays."""
        if self._on_terminal:
            self.show(text)
        else:
            self.note(text)

    def note(self, text: str) -> None:
        """Say something that stays, on a terminal or not."""
        with self._lock:
            self._wipe()
            self._write(f"ebpfcheck: {text}\n")

    def _wipe(self) -> None:
        if self._width:
            self._write(f"\r{'':<{self._width}}\r")
            self._width = 0

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, AttributeError, ValueError):
            # A closed or full stderr is no reason to stop.
            return
