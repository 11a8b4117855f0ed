"""What was collected in one run: enough to judge it anywhere, at any later time, for any Calico release."""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

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


class NodeTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says of a node that no check judges, but that tells which nodes are alike; empty if it is silent."""

    instance_type: str = ""
    pool: str = ""
    """The provider's group of machines that it belongs to."""
    role: str = ""
    """control-plane, or empty."""
    zone: str = ""
    is_ready: bool | None = None
    """Whether kubelet reported that it can take pods when the snapshot was taken; None where that is not known."""


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """What nodes that were not looked at are taken to be, by what was seen on nodes alike."""

    kinds: tuple[int, ...]
    """The distinct ones that they may be of, as indices: their own facts of the API, the rest as a sample has it."""
    samples: tuple[int, ...]
    """The surveyed nodes, as indices."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node; `kind`, `traits` and `inference` are indices into those of the snapshot."""

    identity: NodeIdentity
    kind: int
    surveyed: bool = True
    """Whether the node itself was looked at, not just what the API says of it."""
    traits: int | None = None
    inference: int | None = None
    """Only of a node that was not surveyed, whose `kind` is then what the API alone says."""


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
    traits: tuple[NodeTraits, ...] = ()
    inferences: tuple[Inference, ...] = ()
    nodes: tuple[Node, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    problems: tuple[Problem, ...] = ()


class SourceIndex:
    """Hands out the index of each distinct source, for facts to refer to."""

    def __init__(self) -> None:
        self._listed: list[Source] = []
        self._index: dict[Source, int] = {}

    @classmethod
    def of(cls, sources: Iterable[Source]) -> Self:
        """Return the index of a snapshot's sources, for more to be added."""
        index = cls()
        # A snapshot may list one twice, and facts may refer to either.
        index._listed = list(sources)
        for number, source in enumerate(index._listed):
            index._index.setdefault(source, number)
        return index

    def add(self, source: Source) -> int:
        """Return the index of a source, listing it if it is new."""
        number = self._index.setdefault(source, len(self._listed))
        if number == len(self._listed):
            self._listed.append(source)
        return number

    def listed(self) -> tuple[Source, ...]:
        """Return all sources in the order of their indices."""
        return tuple(self._listed)


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
