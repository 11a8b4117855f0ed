"""Ctrl-C and SIGTERM while there is something to lose."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """From `watch` on, until the `with` block is left, the first signal is taken note of; the second counts as ever.

    So what was learned is not lost to a signal that comes just when it is put away, judged or written.
    """

    def __init__(self) -> None:
        self._usual: dict[signal.Signals, Any] = {}
        self._has_come = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def watch(self) -> None:
        """Take note from now on, instead of ending at once; what is ignored, as under nohup, stays so."""
        for number in _SIGNALS:
            usual = signal.getsignal(number)
            if usual is not signal.SIG_IGN and number not in self._usual:
                self._usual[number] = usual
                signal.signal(number, self._note)

    def has_come(self) -> bool:
        """Whether the user does not want to wait any longer."""
        return self._has_come

    def _note(self, _: int, __: FrameType | None) -> None:
        self._has_come = True
        self._restore()

    def _restore(self) -> None:
        while self._usual:
            signal.signal(*self._usual.popitem())
