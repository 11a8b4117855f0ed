"""What all tables of the knowledge have in common."""

from typing import Protocol

import msgspec


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything read from the TOML files: a misspelt key is an error."""


class Ranged(Protocol):
    """An entry that holds for a range of releases."""

    @property
    def releases(self) -> str:
        """A set of version specifiers."""
