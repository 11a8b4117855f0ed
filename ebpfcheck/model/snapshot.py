"""What was collected in one run: enough to judge it anywhere, at any later time, for any Calico release."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from ebpfcheck.model.cluster import ClusterFacts
from ebpfcheck.model.facts import NodeFacts, NodeIdentity, NodeKind, Reason, Source

SNAPSHOT_SCHEMA = "ebpfcheck.snapshot/v1"
EDITION = 1
"""Grows when facts come to hold more, so that what an older version did not look for is not taken for what is not set.
Snapshots without it are of edition 0, which read a few of Felix's settings and less of the operator's."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong while looking, or while loading what judges."""

    source: str
    reason: Reason
    detail: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node; `kind` is an index into the snapshot's kinds."""

    identity: NodeIdentity
    kind: int
    surveyed: bool = True
    """Whether the node itself was looked at, not just what the API says of it."""


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """A node that should have been surveyed and was not."""

    name: str
    reason: Reason
    detail: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a cluster and its nodes; each distinct set of node facts is held once, in `kinds`."""

    schema: str = SNAPSHOT_SCHEMA
    edition: int = EDITION
    tool_version: str
    taken_at: datetime
    sources: tuple[Source, ...]
    cluster: ClusterFacts | None = None
    kinds: tuple[NodeKind, ...] = ()
    nodes: tuple[Node, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    problems: tuple[Problem, ...] = ()


class SourceIndex:
    """Hands out the index of each distinct source, for facts to refer to."""

    def __init__(self) -> None:
        self._index: dict[Source, int] = {}

    def add(self, source: Source) -> int:
        """Return the index of a source, listing it if it is new."""
        return self._index.setdefault(source, len(self._index))

    def listed(self) -> tuple[Source, ...]:
        """Return all sources in the order of their indices."""
        return tuple(self._index)


def fold_nodes(
    facts_of_nodes: Iterable[NodeFacts], *, surveyed: bool = True
) -> tuple[tuple[NodeKind, ...], tuple[Node, ...]]:
    """Return the distinct kinds and the nodes that refer to them."""
    kinds: dict[NodeKind, int] = {}
    nodes = tuple(
        Node(identity=facts.identity, kind=kinds.setdefault(facts.kind, len(kinds)), surveyed=surveyed)
        for facts in facts_of_nodes
    )
    return tuple(kinds), nodes
