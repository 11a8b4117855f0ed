"""Roads to a node: what every transport does, and what it brings back."""

from types import TracebackType
from typing import Protocol, Self

import msgspec

from ebpfcheck.model.facts import Reason, SourceKind


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What came back of one run of the survey; `cut` says why it ended early, None where it did not."""

    data: bytes
    nonce: str
    cut: Reason | None = None
    detail: str = ""


class Running(Protocol):
    """A survey under way; leaving its `with` block ends it and all that it started."""

    def finish(self) -> Survey:
        """Wait for the survey's end or its deadline and return what was printed until then."""

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
        """Start survey.sh on the node, to last `timeout` seconds at most; CannotRunError if that cannot be done."""
