"""How messages name several things: the first few, and how many more there are."""

from collections.abc import Iterable

from ebpfcheck.model.cluster import IpPool, Users
from ebpfcheck.model.text import excerpt

_CIDR = 45
"""As long as an IPv6 range can be."""


def listed(texts: Iterable[str], at_most: int = 3, *, each: int = 80, total: int = 0) -> str:
    """Return the first texts, each cut to so many characters; `total` counts those too that are not given."""
    given = list(texts)
    more = max(total, len(given)) - min(len(given), at_most)
    return ", ".join(excerpt(text, each) for text in given[:at_most]) + (f" and {more} more" if more else "")


def named(users: Users) -> str:
    """Return the first of some objects by name, in brackets; nothing where none is known by name."""
    return f" ({listed(users.examples, total=users.count)})" if users.examples else ""


def counted(users: Users, one: str, many: str = "") -> str:
    """Return how many there are and the first of them by name, such as "2 Services (a/b, c/d)"."""
    return f"{users.count} {one if users.count == 1 else many or f'{one}s'}{named(users)}"


def pool_names(found: Iterable[IpPool]) -> str:
    """Return IPPools by name, with their ranges."""
    return "IPPool " + listed((f"{excerpt(one.name, 60)} ({excerpt(one.cidr, _CIDR)})" for one in found), 4, each=200)
