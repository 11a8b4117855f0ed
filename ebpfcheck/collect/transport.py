"""Roads to a node: what every transport does, and what it brings back."""

from typing import Protocol

import msgspec

from ebpfcheck.model.facts import Reason, SourceKind


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What came back of one run of the survey; `cut` says why it ended early, None where it did not."""

    data: bytes
    nonce: str
    cut: Reason | None = None
    detail: str = ""


class Transport(Protocol):
    """A road to one node."""

    @property
    def kind(self) -> SourceKind:
        """The kind that the facts' sources carry."""

    def survey(self, timeout: float) -> Survey:
        """Run survey.sh on the node for at most `timeout` seconds; what was printed until then is kept.

        CannotRunError if nothing could be started at all.
        """
